"""Idle connections: closed after a timeout, or earlier for a new connection."""

import contextlib
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from served import PNG, Server, encoded, halves

from segnet.serving import connections
from segnet.serving.connections import GuardedProtocol


@pytest.fixture
def address():
    """Host and port of a server on a real socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = Server()
    config = uvicorn.Config(served.app, http=GuardedProtocol, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(30)


def test_idle_connections_are_closed_for_new_ones(address, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    silent = [socket.create_connection(address) for _ in range(20)]
    for sock in silent[::2]:
        sock.sendall(b"GET /health HTTP/1.1\r\nX: ")
    url = f"http://{address[0]}:{address[1]}"
    for _ in range(3):
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200
    assert httpx.post(f"{url}/predict", content=encoded(halves()), headers=PNG, timeout=30).status_code == 200
    for sock in silent:
        sock.close()


def test_request_headers_have_a_timeout(address, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with socket.create_connection(address) as sock:
        sock.settimeout(30)
        started = time.monotonic()
        sock.sendall(b"GET /health HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        assert time.monotonic() - started >= 0.2


def test_connections_are_kept_between_requests(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=30) as client:
        assert [client.get(path).status_code for path in ("/health", "/model", "/health")] == [200] * 3
