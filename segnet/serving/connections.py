"""Connection limits of the server: a timeout for request headers, and eviction of idle connections.

uvicorn has no timeout for request headers, and refuses new connections above a limit. Here the longest idle connection
is closed for a new one, so that idle clients cannot block others.
"""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512  # open at a time
HEAD_SECONDS = 10.0  # until the headers of a request have arrived
ANSWER_SECONDS = 30.0  # for reading an answer, beyond the time limit of a request


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with timeouts; a subclass sets the limit for a request.

    Attributes:
        request_seconds: limit from the headers of a request to its answer [seconds].
    """

    request_seconds = 60.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._is_answering = False
        self._waits_since = time.monotonic()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._cut_off_in(HEAD_SECONDS)
        if len(self.connections) > MAX_CONNECTIONS:
            waiting = [other for other in self.connections if isinstance(other, GuardedProtocol) and other.waits]
            min(waiting, key=lambda other: other._waits_since, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def waits(self) -> bool:
        """Whether the connection is idle."""
        return not self._is_answering

    def _follow(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self._is_answering:
            self._cut_off_in(self.request_seconds + ANSWER_SECONDS)
        elif self._is_answering and not answering:
            self._waits_since = time.monotonic()
            self._cut_off_in(HEAD_SECONDS)
        self._is_answering = answering

    def _cut_off_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)
