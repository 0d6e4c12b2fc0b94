"""A local server must refuse requests from pages of other sites."""

import socket

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from served import Server, encoded, error_of, halves

from segnet.images.formats import reads_heif


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8000", "127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000", "192.168.1.7:8000", "seg.example.org"],
)
def test_addresses_and_allowed_names_are_accepted(host):
    server = Server(allow_hosts=["Seg.Example.org"])
    assert server.get("/health", headers={"Host": host}).status_code == 200
    assert server.get("/health", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_the_machines_name_is_accepted():
    assert Server().get("/health", headers={"Host": f"{socket.gethostname()}:8000"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1", "[::1", "a b", "user@evil"],
)
def test_dns_rebinding_is_refused(host):
    server = Server()
    for path in ("/health", "/", "/model"):
        assert host in error_of(server.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9999", "http://localhost:8000", "null", "file://", ""]
)
def test_a_page_of_another_site_is_refused(origin):
    server = Server()
    headers = {"Content-Type": "image/png", "Origin": origin}
    assert "may not use this server" in error_of(server.predict(encoded(halves()), headers=headers), 403)
    assert server.predictor.num_calls == 0


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None]
)
def test_cross_site_requests_without_preflight_are_refused(content_type):
    server = Server()
    headers = {"Content-Type": content_type} if content_type else {}
    found = error_of(server.predict(encoded(halves()), headers=headers), 415)
    assert ("image/heic" in found) == reads_heif()
    assert "image/png" in found
    assert server.predictor.num_calls == 0


def test_preflights_never_allow_other_sites():
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = Server().request("OPTIONS", "/predict", headers=headers)
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_security_headers_are_set():
    server = Server()
    for path in ("/", "/page.js", "/health", "/nowhere"):
        headers = server.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-cache"
