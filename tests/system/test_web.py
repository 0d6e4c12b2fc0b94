"""Downloads: refusals, and limits of size and time."""

import http.server
import io
import threading

import pytest

from segnet.errors import DataError
from segnet.system.web import download, is_private

BODY = bytes(range(256)) * 8


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
        else:
            answer(self)

    def log_message(self, *_):
        pass


def body(content: bytes = BODY, length: int | None = None):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(target: str):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.requests = {}, []
    server.released = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def refusal(url: str, **options) -> str:
    with pytest.raises(DataError) as error:
        download(url, io.BytesIO(), **options)
    assert str(error.value).startswith(f"{url}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_body_is_downloaded_completely(server):
    server.answers["/a"] = body()
    server.answers["/b"] = redirect("/a")
    for path in ("/a", "/b"):
        file = io.BytesIO()
        download(server.url + path, file)
        assert file.getvalue() == BODY


@pytest.mark.parametrize("private", [False, True])
def test_a_redirect_into_the_local_network_needs_permission(server, monkeypatch, private):
    server.answers |= {"/a": redirect(f"http://localhost:{server.server_port}/b"), "/b": body()}
    monkeypatch.setattr("segnet.system.web.is_private", lambda host: host == "localhost")
    if private:
        download(f"{server.url}/a", io.BytesIO(), private=True)
        assert server.requests == ["/a", "/b"]
    else:
        told = refusal(f"{server.url}/a")
        assert f"use http://localhost:{server.server_port}/b itself" in told
        assert server.requests == ["/a"]


def test_a_proxy_is_used(server, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    server.answers["http://8.8.8.8/a"] = body()
    file = io.BytesIO()
    download("http://8.8.8.8/a", file)
    assert file.getvalue() == BODY


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "rtsp://host/a", "http://", "http:///a"])
def test_other_schemes_than_http_are_refused(url):
    assert "only http:// and https:// URLs can be fetched" in refusal(url)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "/loop"])
def test_redirects_to_other_schemes_are_refused(server, target):
    server.answers["/loop"] = redirect(target)
    refusal(f"{server.url}/loop")


@pytest.mark.parametrize("length", [10 * 2**30, 2048])
def test_a_too_large_body_is_refused(server, length):
    server.answers["/a"] = body(length=length)
    assert "is larger than" in refusal(f"{server.url}/a", max_bytes=1000)


def test_a_truncated_body_is_refused(server):
    server.answers["/a"] = body(length=len(BODY) + 1)
    assert f"ended after {len(BODY)} of {len(BODY) + 1} bytes" in refusal(f"{server.url}/a")


@pytest.mark.parametrize("header", [True, False])
def test_a_slow_server_is_aborted_at_the_time_limit(server, header):
    def drip(handler):
        if header:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        else:
            handler.send_response(200)
            handler.end_headers()
        while not server.released.wait(0.02):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return

    server.answers["/a"] = drip
    assert "takes more than 0.3 seconds" in refusal(f"{server.url}/a", max_seconds=0.3)


def test_the_stop_event_ends_a_download(server):
    server.answers["/a"] = body()
    stopped = threading.Event()
    stopped.set()
    assert "interrupted" in refusal(f"{server.url}/a", stopped=stopped)


def test_the_status_of_the_server_is_reported(server):
    assert "the server answers 404" in refusal(f"{server.url}/gone")
    server.shutdown()
    server.server_close()
    assert "cannot be fetched" in refusal(f"{server.url}/gone")


@pytest.mark.parametrize(
    ("host", "private"),
    [("8.8.8.8", False), ("10.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("169.254.169.254", True)],
)
def test_private_addresses_are_detected(host, private):
    assert is_private(host) is private


@pytest.mark.parametrize(
    "url", ["http://[", "http://[::1", "https://a\u2100b/x", "http://host:port/x", "http://host:99999"]
)
def test_invalid_urls_are_refused(url):
    assert "is not a valid URL" in refusal(url)


@pytest.mark.parametrize("url", ["http://a..b/x", "http://" + "x" * 70 + "/a", "http://a b/c"])
def test_invalid_hosts_are_refused(url):
    assert "cannot be fetched" in refusal(url)
