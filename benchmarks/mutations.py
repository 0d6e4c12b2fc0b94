"""Damage to the content of files, as disks, transfers and people do it."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = re.compile(rb"[^\s,:;\[\]{}()\"']+")


def mutate(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One of the ways in which disks, transfers and people damage files."""
    data = bytearray(content)
    size = len(data)
    place = int(rng.integers(0, max(1, size)))
    kind = str(rng.choice(["bit", "bits", "byte", "head", "zeros", "cut", "grow", "insert", "delete", "swap"]))
    if kind == "bit":
        data[place] ^= 1 << int(rng.integers(0, 8))
    elif kind in ("bits", "head"):
        reach = size if kind == "bits" else min(size, 512)
        for position in rng.integers(0, reach, int(rng.integers(1, 20))):
            data[position] ^= 1 << int(rng.integers(0, 8))
    elif kind == "byte":
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    elif kind == "zeros":
        data[place : place + 64] = bytes(min(64, size - place))
    elif kind == "cut":
        del data[place:]
    elif kind == "grow":
        data += rng.bytes(int(rng.integers(1, 200)))
    elif kind == "insert":
        data[place:place] = rng.bytes(int(rng.integers(1, 20)))
    elif kind == "delete":
        del data[place : place + int(rng.integers(1, 50))]
    else:
        other = int(rng.integers(0, max(1, size)))
        length = int(rng.integers(1, 64))
        data[place : place + length], data[other : other + length] = (
            data[other : other + length],
            data[place : place + length],
        )
    return kind, bytes(data)


def rezipped(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A zip archive of which one member is damaged, with the checksum of the damage."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = (
        str(rng.choice(sorted(parts))) if rng.random() < 0.5 else next(n for n in parts if n.endswith((".pkl", "json")))
    )
    kind, parts[name] = mutate(parts[name] or b"\0", rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in parts.items():
            archive.writestr(member, data)
    return f"member {kind}", buffer.getvalue()


ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    1.5,
    2**100,
    10**9,
    "x",
    "",
    [],
    [1],
    {},
    {"a": 1},
    True,
    float("nan"),
    [None],
    "a\x1b\n",
)


def edited(value: Any, rng: np.random.Generator) -> Any:
    """A nested value with one part of another type, one key less or one more."""
    places: list[tuple[Any, Any]] = []

    def visit(inner: Any) -> None:
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, part in items:
            places.append((inner, key))
            visit(part)

    visit(value)
    holder, key = places[int(rng.integers(0, len(places)))]
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = ODD[int(rng.integers(0, len(ODD)))]
    return value


def with_odd_word(content: bytes, rng: np.random.Generator) -> bytes:
    """A text of which one word is another value."""
    words = list(WORDS.finditer(content))
    word = words[int(rng.integers(0, len(words)))]
    odd = str(ODD[int(rng.integers(0, len(ODD)))]).encode()
    return content[: word.start()] + odd + content[word.end() :]


def damaged(path: Path, rng: np.random.Generator) -> tuple[str, bytes, bool]:
    """What was done, the new content, and whether a checksum would see it."""
    content = path.read_bytes()
    is_zip = content.startswith(b"PK\x03\x04")
    if is_zip and rng.random() < 0.3:
        return *rezipped(content, rng), False
    if path.suffix == ".json" and rng.random() < 0.7:
        return "edited", json.dumps(edited(json.loads(content), rng)).encode(), False
    if path.suffix in (".txt", ".csv", ".yaml", ".xml") and rng.random() < 0.5:
        return "word", with_odd_word(content, rng), False
    if is_zip and path.suffix in (".ckpt", ".pth") and rng.random() < 0.3:
        whole = torch.load(io.BytesIO(content), weights_only=True)
        buffer = io.BytesIO()
        torch.save(edited(whole, rng), buffer)
        return "edited", buffer.getvalue(), False
    kind, changed = mutate(content, rng)
    return kind, changed, changed != content and (is_zip or not path.name.startswith("foreign"))
