"""onnxruntime-web is found in node_modules or in the given folder, and checked; nothing is downloaded."""

import hashlib

import pytest
from web_runtime import installed, stand_in

from segnet.errors import ConfigError, MachineError
from segnet.exporters.web.runtime import TESTED_VERSION, WEB_FILES, WEB_HASHES, find_web_runtime, sri


def test_node_modules_are_those_of_the_working_folder_or_of_one_above(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(
        MachineError, match=rf"no node_modules folder .*: npm install onnxruntime-web@{TESTED_VERSION}, or"
    ):
        find_web_runtime(None)
    package = stand_in(tmp_path / "node_modules" / "onnxruntime-web")
    found = find_web_runtime(None)
    assert (found.version, found.folder) == ("9.9.9", package / "dist")
    assert [path.exists() for path in found.local("webgpu")] == [True, True]
    assert found.address("ort.wasm.bundle.min.mjs") == {}


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--runtime .*none: is not a folder of onnxruntime-web .*: npm install"):
        find_web_runtime(str(tmp_path / "none"))
    other = stand_in(tmp_path / "other", name="onnxruntime-node")
    with pytest.raises(ConfigError, match="holds the package 'onnxruntime-node', not onnxruntime-web"):
        find_web_runtime(str(other))
    (other / "package.json").write_text("[1]")
    with pytest.raises(ConfigError, match="is not a folder of onnxruntime-web"):
        find_web_runtime(str(other))


def test_a_missing_or_changed_file_is_refused(tmp_path):
    package = stand_in(tmp_path / "package", version=TESTED_VERSION)
    with pytest.raises(
        MachineError, match=rf"min\.mjs: is not the file of onnxruntime-web {TESTED_VERSION}, or damaged"
    ):
        find_web_runtime(str(package))
    _, wasm = WEB_FILES["wasm"]
    (package / "dist" / wasm).unlink()
    (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.0"}')
    with pytest.raises(MachineError, match=rf"{wasm}: is missing in onnxruntime-web 1\.0"):
        find_web_runtime(str(package))


def test_the_cdn_is_pinned_by_version_and_hash(tmp_path):
    runtime = find_web_runtime("cdn")
    assert (runtime.version, runtime.folder) == (TESTED_VERSION, None)
    for script, wasm in WEB_FILES.values():
        for file in (script, wasm):
            place = runtime.address(file)
            assert place["url"] == f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{TESTED_VERSION}/dist/{file}"
            assert place["integrity"] == WEB_HASHES[file]


def test_the_hash_is_that_of_html(tmp_path):
    path = tmp_path / "a.js"
    path.write_bytes(b"alert('Hello, world.');")  # the example of MDN's page on subresource integrity
    assert sri(path) == "sha384-H8BRh8j48O9oYatfu5AZzq6A9RINhZO5H16dQZngK7T62em8MUt1FLm52t+eX6xO"
    assert len(hashlib.sha384().digest()) == 48


def test_the_published_package_has_the_pinned_hashes():
    runtime = find_web_runtime(str(installed()))
    for provider in WEB_FILES:
        for path in runtime.local(provider):
            assert runtime.version != TESTED_VERSION or sri(path) == WEB_HASHES[path.name]
