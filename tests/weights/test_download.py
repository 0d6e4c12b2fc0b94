"""Downloads from a local server, without network."""

import hashlib
import sys
import urllib.request
from pathlib import Path

import pytest
from downloading import cached, refusal

from segnet.errors import CheckpointError, MachineError
from segnet.system.web import Redirects
from segnet.weights import transfer
from segnet.weights.download import cache_path, fetch

BODY = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"


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


@pytest.mark.parametrize("url", ["http://[", "http://a..b/w.pth", "http://host:port/w.pth", "http://a\u2100b/w.pth"])
def test_invalid_urls_are_refused(url, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert refusal(url, CheckpointError)


def test_impossible_file_names_are_refused():
    assert "no such file" in refusal("x" * 5000, CheckpointError)
    assert "no such file" in refusal("~nobody-of-that-name/w.pth", CheckpointError)
