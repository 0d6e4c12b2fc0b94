"""Downloads with limits: http and https only, bounded size and time, no redirect into a private network.

A URL given by the user may have any address, including this machine. Its server may not redirect into the user's
network.
"""

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from segnet.errors import DataError, SegnetError, first_line

MAX_INPUT_BYTES = 512 * 2**20
MAX_SECONDS = 120.0
TIMEOUT = 30.0  # for the connection, and for each answer on it [seconds]
CHUNK = 2**18  # [bytes]


class Redirects(urllib.request.HTTPRedirectHandler):
    """Redirect handler with limits: no files, no downgrade from https to http, no redirect into this network.

    Args:
        error: the type of the error to raise.
        private: whether to follow redirects into this machine's own network.
    """

    def __init__(self, error: type[SegnetError], private: bool = False) -> None:
        self._error, self._private = error, private

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise self._error(f"{req.full_url}: redirects to {newurl}, which is refused")
        if not self._private and is_private(new.hostname) and not is_private(old.hostname):
            raise self._error(f"{req.full_url}: redirects into a private network: if you trust it, use {newurl} itself")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_private(host: str | None) -> bool:
    """Whether a host name or address belongs to this machine or its network; False if the name is unknown."""
    try:
        addresses = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # behind a proxy, names may not resolve on this machine
    parsed = map(ipaddress.ip_address, addresses)
    return not all((getattr(address, "ipv4_mapped", None) or address).is_global for address in parsed)


def is_web(url: str, error: type[SegnetError]) -> bool:
    """Whether a URL has the scheme http or https, and a host.

    Raises:
        SegnetError: of the type `error`: not a valid URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for an invalid port
    except ValueError as reason:  # such as "http://["
        raise error(f"{url}: is not a valid URL ({first_line(reason)})") from None
    return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)


def download(
    url: str,
    file: BinaryIO,
    private: bool = False,
    max_bytes: int = MAX_INPUT_BYTES,
    max_seconds: float = MAX_SECONDS,
    stopped: threading.Event | None = None,
) -> None:
    """Download a URL into an open file.

    Args:
        url: http:// or https://.
        file: binary, open for writing.
        private: whether to follow redirects from outside into this machine's own network.
        max_bytes: the largest body.
        max_seconds: until its last byte.
        stopped: ends the download when set.

    Raises:
        DataError: the URL cannot be fetched, or a limit is exceeded.
    """
    if not is_web(url, DataError):
        raise DataError(f"{url}: only http:// and https:// URLs can be fetched")
    deadline = time.monotonic() + max_seconds
    try:
        with _response(url, private, deadline) as response:
            _copy(response, file, url, max_bytes, deadline, stopped)
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{url}: cannot be fetched: the server answers {error.code} {' '.join(str(error.reason).split())}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, SegnetError):
            raise
        if time.monotonic() >= deadline:
            raise DataError(f"{url}: takes more than {max_seconds:g} seconds: download it first") from None
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise DataError(f"{url}: cannot be fetched ({reason})") from None


def _copy(
    response: Any, file: BinaryIO, url: str, max_bytes: int, deadline: float, stopped: threading.Event | None
) -> None:
    length = response.headers.get("Content-Length", "")
    announced = int(length) if length.isdecimal() else None
    received = 0
    while chunk := response.read1(CHUNK):  # read() would block until the whole chunk has arrived
        received += len(chunk)
        if max(received, announced or 0) > max_bytes:
            raise DataError(f"{url}: is larger than {max_bytes >> 20} MiB: download it first")
        if time.monotonic() > deadline:
            raise TimeoutError
        if stopped is not None and stopped.is_set():
            raise DataError(f"{url}: interrupted")
        file.write(chunk)
    if time.monotonic() > deadline:  # after the shutdown, incomplete headers look complete
        raise TimeoutError
    if announced is not None and received != announced:
        raise DataError(f"{url}: ended after {received} of {announced} bytes: try again")


@contextlib.contextmanager
def _response(url: str, private: bool, deadline: float) -> Iterator[Any]:
    """The response to a request for `url`; a connection that waits for headers is shut down at the deadline."""
    handler = _Connections()
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), handler.shut_down)
    timer.daemon = True
    timer.start()
    try:
        opener = urllib.request.build_opener(handler, Redirects(DataError, private))
        with opener.open(urllib.request.Request(url, headers={"User-Agent": "segnet"}), timeout=TIMEOUT) as response:
            yield response
    finally:
        timer.cancel()


class _Connections(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Tracks its connections for a shutdown: urllib's timeout restarts with every byte of a header."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[http.client.HTTPConnection] = []

    def http_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPConnection, req)

    def https_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPSConnection, req)

    def _open(self, kind: type[http.client.HTTPConnection], request: Any) -> Any:
        def connection(*arguments: Any, **options: Any) -> http.client.HTTPConnection:
            self._opened.append(kind(*arguments, **options))
            return self._opened[-1]

        return self.do_open(connection, request)

    def shut_down(self) -> None:
        for connection in self._opened:
            if connection.sock is not None:  # None: urllib has handed it to the response
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
