"""Downloads from a local server, without network."""

import hashlib
import sys
import types
import urllib.request
from pathlib import Path

import pytest
from loopback import answers_of_hub, serving

from segnet.errors import CheckpointError, MachineError
from segnet.system.web import Redirects
from segnet.weights import transfer
from segnet.weights.download import cache_path, fetch

BODY = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


def cached(tmp_path: Path) -> list[Path]:
    """All files in torch's cache, including temporary ones."""
    return [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


def refusal(source: str, kind: type) -> str:
    with pytest.raises(kind) as error:
        fetch(source)
    assert type(error.value) is kind
    assert str(error.value).startswith(f"{source}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_downloads_are_cached_in_torchs_folder(server, tmp_path):
    server.answers[f"/v1/{NAME}"] = lambda handler: handler.give(BODY)
    path = fetch(f"{server.url}/v1/{NAME}")
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / NAME
    assert path.read_bytes() == BODY
    assert fetch(f"{server.url}/v1/{NAME}") == path
    assert server.requests == [f"/v1/{NAME}"]
    assert cached(tmp_path) == [path]


def test_a_name_without_a_hash_gets_a_folder_per_url(server, tmp_path):
    for folder, body in (("a", b"first"), ("b", b"second")):
        server.answers[f"/{folder}/model.pdparams"] = lambda handler, body=body: handler.give(body)
    paths = [fetch(f"{server.url}/{folder}/model.pdparams") for folder in ("a", "b", "a")]
    assert [path.read_bytes() for path in paths] == [b"first", b"second", b"first"]
    assert {path.name for path in paths} == {"model.pdparams"}
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["net-20200605.pth", "net.pth", "r50-d8_512x1024_20200606_114049.pth"])
def test_a_date_is_not_a_hash(server, name):
    server.answers[f"/{name}"] = lambda handler: handler.give(b"any")
    assert fetch(f"{server.url}/{name}").read_bytes() == b"any"


def test_a_hash_mismatch_is_refused(server, tmp_path):
    server.answers[f"/{NAME}"] = lambda handler: handler.give(BODY[:-1] + b"x")
    assert f"instead of {DIGEST[:8]}" in refusal(f"{server.url}/{NAME}", CheckpointError)
    assert cached(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_reported_with_its_path(server, tmp_path):
    path = cache_path(f"{server.url}/{NAME}")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as error:
        fetch(f"{server.url}/{NAME}")
    assert str(error.value).startswith(f"{path}: is damaged")
    assert server.requests == []


@pytest.mark.parametrize("length", [None, 2 * len(BODY)])
def test_a_truncated_download_leaves_no_file(server, tmp_path, length):
    def chunked(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"fffff\r\n" + BODY[:1000])
        handler.close_connection = True

    server.answers[f"/{NAME}"] = (lambda handler: handler.give(BODY, length)) if length else chunked
    url = f"{server.url}/{NAME}"
    message = refusal(url, MachineError)
    assert f"download it manually to {cache_path(url)}" in message
    if length:
        assert f"truncated after {len(BODY)} of {length} bytes" in message
    assert cached(tmp_path) == []


def test_http_errors_include_the_servers_reason(server, tmp_path):
    assert "404 Not Found" in refusal(f"{server.url}/{NAME}", CheckpointError)
    assert cached(tmp_path) == []


def test_server_errors_are_machine_errors(server):
    server.answers[f"/{NAME}"] = lambda handler: handler.send_error(503)
    assert "503 Service Unavailable" in refusal(f"{server.url}/{NAME}", MachineError)


def test_offline_errors_explain_the_manual_download(server, tmp_path):
    server.shutdown()
    server.server_close()  # connections are refused from now on
    url = f"{server.url}/{NAME}"
    message = refusal(url, MachineError)
    assert f"download it manually to {cache_path(url)}" in message
    cache_path(url).parent.mkdir(parents=True, exist_ok=True)
    cache_path(url).write_bytes(BODY)  # the advice helps
    assert fetch(url) == cache_path(url)


def test_a_redirect_keeps_the_name_of_the_original_url(server):
    server.answers[f"/{NAME}"] = lambda handler: handler.redirect(f"{server.url}/store/1")
    server.answers["/store/1"] = lambda handler: handler.give(BODY)
    assert fetch(f"{server.url}/{NAME}").name == NAME


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_redirects_to_other_schemes_are_refused(server, target):
    server.answers[f"/{NAME}"] = lambda handler: handler.redirect(target)
    refusal(f"{server.url}/{NAME}", CheckpointError)


@pytest.mark.parametrize(
    ("old", "new", "followed"),
    [
        ("http://8.8.8.8/a", "http://9.9.9.9/b", True),
        ("http://8.8.8.8/a", "https://9.9.9.9/b", True),
        ("https://8.8.8.8/a", "http://9.9.9.9/b", False),
        *(
            ("https://8.8.8.8/a", f"https://{host}/b", False)
            for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "[::1]", "[fe80::1]")
        ),
        ("http://10.1.2.3/a", "http://10.1.2.4/b", True),
    ],
)
def test_redirects_into_the_local_network_are_refused(old, new, followed):
    request = urllib.request.Request(old)
    handler = Redirects(CheckpointError)
    if followed:
        assert handler.redirect_request(request, None, 302, "Found", {}, new).full_url == new
    else:
        with pytest.raises(CheckpointError, match="redirects"):
            handler.redirect_request(request, None, 302, "Found", {}, new)


@pytest.mark.parametrize("length", [None, -1])
def test_a_too_large_download_is_refused(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr(transfer, "MAX_WEIGHTS_BYTES", 2000)
    server.answers[f"/{NAME}"] = lambda handler: handler.give(BODY, length)
    assert "is larger than" in refusal(f"{server.url}/{NAME}", CheckpointError)
    assert cached(tmp_path) == []


def test_a_too_slow_download_is_aborted(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SLOW_WINDOW", 1e-9)
    monkeypatch.setattr(transfer, "SLOWEST", 1e30)  # every download is too slow
    server.answers[f"/{NAME}"] = lambda handler: handler.give(BODY)
    assert "download is too slow" in refusal(f"{server.url}/{NAME}", MachineError)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.pth", "file:///etc/passwd", "http://", "s3://bucket/a.pth"])
def test_other_schemes_than_http_are_refused(url):
    assert "http:// or https:// only" in refusal(url, CheckpointError)


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fevil.pth", ".hidden", "a b;rm.pth", ""])
def test_a_url_cannot_choose_the_download_folder(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = cache_path(f"https://host/x/{name}")
    folder = tmp_path / "hub" / "checkpoints"
    assert path.resolve().parent.parent == folder
    assert not path.name.startswith(".")
    assert " " not in path.name


def test_existing_paths_take_precedence_over_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.pth").write_bytes(b"")
    assert fetch("~/a.pth") == tmp_path / "a.pth"
    (tmp_path / "timm" / "resnet50d").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert fetch("timm/resnet50d") == Path("timm/resnet50d")  # rather than the hub's


@pytest.mark.parametrize("source", ["none.pth", "runs/none.ckpt", "./timm/resnet50d", "a/b/c", "/timm/resnet50d"])
def test_file_names_are_not_searched_on_the_hub(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an ImportError if it were
    assert refusal(source, CheckpointError) == f"{source}: no such file"


HUB = "someone/resnet50d"


WEIGHTS, CONFIG = b"weights" * 1000, b'{"mean": [0.5]}'


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server is the hub, with one model; nothing of the user's own cache is seen."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an ImportError if it were asked
    server.answers.update(answers_of_hub(HUB, {"model.safetensors": WEIGHTS, "config.json": CONFIG}))
    return server


def test_a_model_of_the_hub_comes_with_its_config_and_is_kept(hub):
    path = fetch(HUB)
    assert path.read_bytes() == WEIGHTS
    assert path.with_name("config.json").read_bytes() == CONFIG
    asked = len(hub.requests)
    assert fetch(HUB) == path
    assert len(hub.requests) == asked


def test_a_model_of_the_hub_may_lack_a_config(hub):
    del hub.answers[f"/{HUB}/resolve/main/config.json"]
    assert fetch(HUB).name == "model.safetensors"


def test_a_hub_model_with_another_digest_is_refused(hub, tmp_path):
    hub.answers.update(answers_of_hub(HUB, {"model.safetensors": WEIGHTS}, digest="0" * 64))
    with pytest.raises(CheckpointError, match="damaged download, its sha256 starts with"):
        fetch(HUB)
    hub.answers[f"/{HUB}/resolve/main/model.safetensors"] = lambda handler: handler.give(WEIGHTS[:-1])
    assert "truncated after 6999 of 7000 bytes" in refusal(HUB, MachineError)
    assert [path.name for path in cached(tmp_path)] == ["config.json"]


def test_the_cache_of_the_hub_is_used_first(hub, tmp_path):
    model = tmp_path / "huggingface" / "hub" / f"models--{HUB.replace('/', '--')}"
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").write_bytes(b"mine")
    assert fetch(HUB) == snapshot / "model.safetensors"
    assert not hub.requests


def test_a_model_of_the_hub_without_safe_weights_is_refused(hub):
    hub.answers.clear()
    assert "has no model.safetensors" in refusal(HUB, CheckpointError)


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_hub_the_files_to_download_are_named(hub, monkeypatch, offline):
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    message = refusal(HUB, MachineError)
    assert f"/{HUB}/resolve/main/model.safetensors and " in message
    assert f"/{HUB}/resolve/main/config.json manually into one folder" in message
    assert ("HF_HUB_OFFLINE is set" in message) == offline
    assert not hub.requests


def refuse_login(handler):
    handler.send_error(401)


def test_a_model_that_the_hub_does_not_show_needs_the_package(hub):
    hub.answers[f"/{HUB}/raw/main/model.safetensors"] = refuse_login
    message = refusal(HUB, CheckpointError)
    assert "no public model on the hub has this name; for a private one pip install" in message


@pytest.fixture
def package(hub, monkeypatch, tmp_path):
    """Stands in for huggingface_hub: `files` are on the hub; a value that is an error is raised."""
    hub.answers[f"/{HUB}/raw/main/model.safetensors"] = refuse_login
    errors = types.ModuleType("huggingface_hub.errors")
    # as huggingface_hub.errors has them
    errors.EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})
    errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (FileNotFoundError, errors.EntryNotFoundError), {})
    errors.RepositoryNotFoundError = type("RepositoryNotFoundError", (OSError,), {})
    errors.HFValidationError = type("HFValidationError", (ValueError,), {})
    module = types.ModuleType("huggingface_hub")
    module.errors = errors
    module.files = {"model.safetensors": b"weights", "config.json": b"{}"}
    module.asked = []

    def hf_hub_download(name, file):
        module.asked.append((name, file))
        content = module.files.get(file, errors.EntryNotFoundError("404"))
        if isinstance(content, Exception):
            raise content
        path = tmp_path / "snapshot" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return module


def test_a_private_model_is_fetched_by_the_package(package, tmp_path):
    path = fetch(HUB)
    assert path == tmp_path / "snapshot" / "model.safetensors"
    assert (path.parent / "config.json").exists()
    assert package.asked == [(HUB, "model.safetensors"), (HUB, "config.json")]


def test_a_private_model_may_lack_a_config(package):
    del package.files["config.json"]
    assert fetch(HUB).name == "model.safetensors"


@pytest.mark.parametrize("kind", ["RepositoryNotFoundError", "HFValidationError"])
def test_a_model_that_the_hub_does_not_have_is_refused(package, kind):
    package.files["model.safetensors"] = getattr(package.errors, kind)("no\nsuch")
    assert "no public model on the hub has this name" in refusal(HUB, CheckpointError)


def test_a_private_model_without_safe_weights_is_refused(package):
    del package.files["model.safetensors"]
    assert "has no model.safetensors" in refusal(HUB, CheckpointError)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_connection_lost_by_the_package_is_reported_with_the_files(package, file):
    package.files[file] = ConnectionError("no\nroute")
    assert "(the hub is not reachable): download http" in refusal(HUB, MachineError)


def test_the_fake_hub_behaves_like_the_hub():
    errors = pytest.importorskip("huggingface_hub.errors")
    assert issubclass(errors.LocalEntryNotFoundError, errors.EntryNotFoundError)
    for one, other in (("RepositoryNotFoundError", "EntryNotFoundError"), ("HFValidationError", "EntryNotFoundError")):
        assert not issubclass(getattr(errors, one), getattr(errors, other))


@pytest.mark.parametrize("url", ["http://[", "http://a..b/w.pth", "http://host:port/w.pth", "http://a\u2100b/w.pth"])
def test_invalid_urls_are_refused(url, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert refusal(url, CheckpointError)


def test_impossible_file_names_are_refused():
    assert "no such file" in refusal("x" * 5000, CheckpointError)
    assert "no such file" in refusal("~nobody-of-that-name/w.pth", CheckpointError)
