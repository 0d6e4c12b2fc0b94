"""Attack `segnet serve` with hostile clients, and check that honest clients are still served.

    segnet serve --checkpoint best.ckpt --port 8000 &
    python benchmarks/hostile_client.py http://127.0.0.1:8000 --seconds 60

The attacks run one after another: silent connections, incomplete headers, stalled uploads, slow uploads, damaged
images, decompression bombs, requests other than HTTP. During each attack an honest client requests /health and sends an
image. It repeats requests answered by 503 with Retry-After, and must get 200 within --patience seconds. The exit code
is 1 if it did not, or if any answer was a 500.
"""

import argparse
import contextlib
import http.client
import io
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

Address = tuple[str, int]


def png(pixels: np.ndarray) -> bytes:
    """An image as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG with a header of side x side pixels and no data."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def ask(address: Address, method: str, path: str, body: bytes = b"", kind: str = "image/png") -> int:
    """Send a request and return the status of the answer."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request(method, path, body or None, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


class Attack:
    """Connections that are opened again and again until the attack ends.

    Args:
        address: of the server.
        opening: what each sends at once.
        drip: what it sends every half second afterwards.
        number: of connections.
    """

    def __init__(self, address: Address, opening: bytes, drip: bytes, number: int) -> None:
        self._address, self._opening, self._drip, self._number = address, opening, drip, number
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(8)]

    def __enter__(self) -> "Attack":
        for thread in self._threads:
            thread.start()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        opened: list[socket.socket] = []
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                while len(opened) < self._number // len(self._threads):
                    opened.append(socket.create_connection(self._address, timeout=5))
                    opened[-1].sendall(self._opening)
            self._ended.wait(0.5)
            kept = []
            for sock in opened:
                try:
                    sock.sendall(self._drip)
                    kept.append(sock)
                except OSError:
                    sock.close()
            opened = kept
        for sock in opened:
            sock.close()


def requests(address: Address, rng: np.random.Generator) -> list[int]:
    """Send damaged images, bombs, wrong types and invalid queries; return the statuses."""
    whole = png(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    statuses = []
    for _ in range(20):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 5):
            data[place] ^= 1 << int(rng.integers(0, 8))
        statuses.append(ask(address, "POST", "/predict", bytes(data)))
    for body, kind in (
        (bomb(9000), "image/png"),
        (bomb(60000), "image/png"),
        (b"x", "text/html"),
        (b"II*\0", "image/tiff"),
    ):
        statuses.append(ask(address, "POST", "/predict", body, kind))
    for query in ("output=%00", "output=mask&opacity=nan", "image=1", "tolerance=1e999", "x" * 5000):
        statuses.append(ask(address, "POST", f"/predict?{query}", whole))
    return statuses


def honest(address: Address, seconds: float, patience: float) -> list[str]:
    """Run an honest client and return its failures."""
    image = png(np.zeros((40, 30, 3), np.uint8))
    wrong = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for method, path, body in (("GET", "/health", b""), ("POST", "/predict?output=mask", image)):
            started = time.monotonic()
            try:
                while (status := ask(address, method, path, body)) == 503 and time.monotonic() - started < patience:
                    time.sleep(1)  # Retry-After
            except (OSError, http.client.HTTPException) as error:
                wrong.append(f"{path}: {type(error).__name__} {error}")
                continue
            took = time.monotonic() - started
            if status != 200 or took > patience:
                wrong.append(f"{path}: {status} after {took:.1f} s")
        time.sleep(0.2)
    return wrong


def main() -> int:
    """Run all attacks; return exit code 1 if an honest client was not served, or the server failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the server")
    parser.add_argument("--seconds", type=float, default=60, help="for all attacks; default: 60")
    parser.add_argument("--patience", type=float, default=10, help="of the honest client [seconds]; default: 10")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = urlsplit(options.url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    upload = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\n"
    attacks: dict[str, Callable[[], Attack]] = {
        "600 silent connections": lambda: Attack(address, b"", b"", 600),
        "600 half heads that drip": lambda: Attack(address, b"GET /health HTTP/1.1\r\nX: ", b"a", 600),
        "9 uploads that stand still": lambda: Attack(address, upload + b"\x89PNG", b"", 16),
        "64 uploads that stand still": lambda: Attack(address, upload + b"\x89PNG", b"", 64),
        "64 uploads that drip": lambda: Attack(address, upload, b"a", 64),
        "64 requests that are no HTTP": lambda: Attack(address, b"\x16\x03\x01\0\xff" * 20, b"\0", 64),
    }
    bad = 0
    for name, attack in attacks.items():
        with attack():
            wrong = honest(address, options.seconds / (len(attacks) + 1), options.patience)
        bad += len(wrong)
        print(f"{name}: {'served throughout' if not wrong else '; '.join(wrong[:5])}", flush=True)
    rng = np.random.default_rng(options.seed)
    statuses: list[int] = []
    end = time.monotonic() + options.seconds / (len(attacks) + 1)
    while time.monotonic() < end:
        statuses += requests(address, rng)
    failed = sum(status >= 500 for status in statuses)
    print(f"damaged requests: {len(statuses)}, {failed} answered with 500 or more")
    return int(bool(bad or failed))


if __name__ == "__main__":
    sys.exit(main())
