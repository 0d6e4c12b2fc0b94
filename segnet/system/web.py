"""Files from the web, with care: http and https only, no way into a private network, limits of size and time."""

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

from segnet.errors import DataError, SegnetError

MAX_BYTES = 512 * 2**20
MAX_SECONDS = 120.0
TIMEOUT = 20.0  # for the connection, and for each answer on it [seconds]
CHUNK = 2**16  # [bytes]


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web only: not to files, not from https to http, not from outside into this network.

    Args:
        error: what a refusal is.
        private: whether the own network may be redirected into.
    """

    def __init__(self, error: type[SegnetError], private: bool = False) -> None:
        self._error, self._private = error, private

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise self._error(f"{req.full_url}: redirects to {newurl}, which is not followed")
        if not self._private and is_private(new.hostname) and not is_private(old.hostname):
            raise self._error(f"{req.full_url}: redirects into a private network, to {newurl}: not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_private(host: str | None) -> bool:
    """Whether a name or address belongs to this machine or its network; of an unknown name nothing is known."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # behind a proxy a name may mean nothing here
    return not all(_is_global(str(address)) for address in addresses)


def _is_global(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_global


class _PrivateAddress(Exception):
    """Where a connection has led to."""


def download(
    url: str,
    file: BinaryIO,
    private: bool = False,
    max_bytes: int = MAX_BYTES,
    max_seconds: float = MAX_SECONDS,
    stopped: threading.Event | None = None,
) -> None:
    """Writes what a URL gives into a file.

    The address is looked at when the connection stands, so that no second answer of a name server can lead elsewhere.

    Args:
        url: http:// or https://.
        file: where to.
        private: whether addresses of this machine and its network may be asked.
        max_bytes: of the body.
        max_seconds: until its last byte.
        stopped: ends the download when set.

    Raises:
        DataError: it cannot be had, or is refused.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise DataError(f"{url}: only http:// and https:// are fetched")
    deadline = time.monotonic() + max_seconds
    try:
        with _connection(url, private, deadline) as response:
            _copy(response, file, url, max_bytes, deadline, stopped)
    except _PrivateAddress as address:
        raise DataError(
            f"{url}: leads into a private network ({address}), which is not asked: --private-urls allows it"
        ) from None
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{url}: cannot be fetched: the server says {error.code} {' '.join(str(error.reason).split())}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, SegnetError):
            raise
        if time.monotonic() >= deadline:
            raise DataError(f"{url}: takes longer than {max_seconds:g} seconds: download it first") from None
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise DataError(f"{url}: cannot be fetched ({reason})") from None


def _copy(
    response: Any, file: BinaryIO, url: str, max_bytes: int, deadline: float, stopped: threading.Event | None
) -> None:
    length = response.headers.get("Content-Length", "")
    announced = int(length) if length.isdecimal() else None
    received = 0
    while chunk := response.read1(CHUNK):  # read() would wait until all of it has dripped in
        received += len(chunk)
        if max(received, announced or 0) > max_bytes:
            raise DataError(f"{url}: is larger than {max_bytes >> 20} MiB: download it first")
        if time.monotonic() > deadline:
            raise TimeoutError
        if stopped is not None and stopped.is_set():
            raise DataError(f"{url}: interrupted")
        file.write(chunk)
    if time.monotonic() > deadline:  # what the connection was cut off by looks like its end
        raise TimeoutError
    if announced is not None and received != announced:
        raise DataError(f"{url}: was cut off after {received} of {announced} bytes: try again")


@contextlib.contextmanager
def _connection(url: str, private: bool, deadline: float) -> Iterator[Any]:
    """The response to a request for `url`; what stands at the deadline is cut off, whatever it waits for."""
    sockets: list[socket.socket] = []

    def guard(connected: socket.socket, through_proxy: bool) -> None:
        sockets.append(connected)
        address = connected.getpeername()[0]
        if not (private or through_proxy or _is_global(address)):
            connected.close()
            raise _PrivateAddress(address)

    def cut_off() -> None:
        for opened in sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut_off)
    timer.daemon = True
    timer.start()
    try:
        opener = urllib.request.build_opener(
            _Http(guard, private), _Https(guard, private), Redirects(DataError, private)
        )
        with opener.open(urllib.request.Request(url, headers={"User-Agent": "segnet"}), timeout=TIMEOUT) as response:
            yield response
    finally:
        timer.cancel()


class _Guarded:
    """Shows every connection to a guard before anything is sent over it; for a proxy only the name can be judged."""

    def __init__(self, guard: Any, private: bool) -> None:
        super().__init__()
        self._guard, self._private = guard, private

    def _open(self, kind: type[http.client.HTTPConnection], request: Any) -> Any:
        guard, through_proxy = self._guard, request.has_proxy() or bool(request._tunnel_host)
        asked = urlsplit(request.full_url).hostname
        if through_proxy and not self._private and is_private(asked):
            raise _PrivateAddress(asked)

        def connect(*arguments: Any, **options: Any) -> socket.socket:
            connected = socket.create_connection(*arguments, **options)
            guard(connected, through_proxy)
            return connected

        class Connection(kind):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                self._create_connection = connect  # before TLS says its first word
                super().connect()
                guard(self.sock, through_proxy)  # TLS has put its own in place of the first

        return self.do_open(Connection, request)  # type: ignore[attr-defined]


class _Http(_Guarded, urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPConnection, req)


class _Https(_Guarded, urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPSConnection, req)
