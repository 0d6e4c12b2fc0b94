"""onnxruntime-web: the files of the npm package that a page needs, from a folder, or from a CDN by address and hash.

segnet contains and downloads none of them. The user fetches the package with npm, or lets the page load it from a CDN.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segnet.errors import ConfigError, MachineError

WEB_PACKAGE = "onnxruntime-web"
CDN = "cdn"  # value of --runtime
CDN_HOST = "https://cdn.jsdelivr.net"
# By execution provider: the script and its WebAssembly. The WebAssembly with WebGPU has no fast CPU kernels.
WEB_FILES = {
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
}
TESTED_VERSION = "1.30.0"
# SHA-384 of the files of TESTED_VERSION, as in the integrity attribute of HTML.
WEB_HASHES = {
    "ort.webgpu.bundle.min.mjs": "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f",
    "ort-wasm-simd-threaded.asyncify.wasm": "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
    "ort.wasm.bundle.min.mjs": "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    "ort-wasm-simd-threaded.wasm": "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
}
ADVICE = f"npm install {WEB_PACKAGE}@{TESTED_VERSION}, or --runtime FOLDER of the unpacked package"


@dataclass(frozen=True, slots=True)
class WebRuntime:
    """A version of onnxruntime-web.

    Attributes:
        version: version of the package.
        folder: folder of its files; None: a page loads them from the CDN.
    """

    version: str
    folder: Path | None

    def local(self, provider: str) -> tuple[Path, Path]:
        """The script and the WebAssembly of an execution provider, in the folder."""
        assert self.folder is not None
        script, wasm = WEB_FILES[provider]
        return self.folder / script, self.folder / wasm

    def address(self, file: str) -> dict[str, str]:
        """The place of a file as the page reads it; empty for an embedded one."""
        if self.folder is not None:
            return {}
        return {"url": f"{CDN_HOST}/npm/{WEB_PACKAGE}@{self.version}/dist/{file}", "integrity": WEB_HASHES[file]}


def find_web_runtime(option: str | None) -> WebRuntime:
    """Find onnxruntime-web.

    Args:
        option: folder of the npm package, or "cdn"; None: node_modules of the working folder or of a folder above.

    Raises:
        ConfigError: the folder is not the package. MachineError: the package is missing or damaged.
    """
    if option == CDN:
        return WebRuntime(TESTED_VERSION, None)
    if option is None:
        found = next((folder for folder in _node_modules() if (folder / "package.json").is_file()), None)
        if found is None:
            raise MachineError(f"--format web embeds {WEB_PACKAGE}, and no node_modules folder here has it: {ADVICE}")
        return _in_folder(found)
    return _in_folder(Path(option).expanduser())


def _node_modules() -> Iterator[Path]:
    """Where Node.js looks for the package."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / "node_modules" / WEB_PACKAGE


def _in_folder(folder: Path) -> WebRuntime:
    try:
        described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        name, version = described["name"], str(described["version"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ConfigError(
            f"--runtime {folder}: is not a folder of {WEB_PACKAGE} with its package.json: {ADVICE}"
        ) from None
    if name != WEB_PACKAGE:
        raise ConfigError(f"--runtime {folder}: holds the package {name!r}, not {WEB_PACKAGE}: {ADVICE}")
    dist = folder / "dist"
    for file in (file for pair in WEB_FILES.values() for file in pair):
        if not (dist / file).is_file():
            raise MachineError(f"{dist / file}: is missing in {WEB_PACKAGE} {version}: {ADVICE}")
        if version == TESTED_VERSION and sri(dist / file) != WEB_HASHES[file]:
            raise MachineError(f"{dist / file}: is not the file of {WEB_PACKAGE} {version}, or damaged: {ADVICE}")
    return WebRuntime(version, dist)


def sri(path: Path) -> str:
    """The hash of a file as HTML's integrity attribute writes it."""
    with open(path, "rb") as file:
        return "sha384-" + base64.b64encode(hashlib.file_digest(file, "sha384").digest()).decode()
