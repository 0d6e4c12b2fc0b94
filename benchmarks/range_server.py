"""A local web server that answers byte-range requests, as buckets and real web servers do.

For tests, and for benchmarks/streaming.py.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving(folder: Path, ranges: bool = True, failures: int = 0, delay: float = 0.0) -> Iterator[str]:
    """Serve the files of a folder; yields the URL.

    Args:
        ranges: whether byte ranges are served; if not, the whole file is, as Python's own server does.
        failures: number of requests that fail before the first answer.
        delay: latency of each answer [seconds].
    """
    left = [failures]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(delay)
            path = folder / self.path.lstrip("/")
            if left[0] > 0:
                left[0] -= 1
                self.answer(503, b"")
            elif not path.is_file():
                self.answer(404, b"")
            elif ranges and (asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
                with open(path, "rb") as file:
                    file.seek(int(asked[1]))
                    self.answer(206, file.read(int(asked[2]) + 1 - int(asked[1])))
            else:
                self.answer(200, path.read_bytes())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
