"""A web server on this machine, for tests of downloads; it can stand in for the Hugging Face hub."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator, Mapping


class Handler(http.server.BaseHTTPRequestHandler):
    """`answers` maps paths to functions; `requests` lists the requested paths."""

    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.answers.get(self.path, lambda handler: handler.send_error(404))(self)

    def give(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving() -> Iterator[http.server.ThreadingHTTPServer]:
    """A server with `answers`, `requests` and its `url`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answers_of_hub(name: str, files: Mapping[str, bytes], digest: str | None = None) -> dict:
    """The hub's answers for a public model: files, and a Git LFS pointer instead of model.safetensors."""
    answers = {f"/{name}/resolve/main/{file}": _giving(body) for file, body in files.items()}
    if "model.safetensors" in files:
        body = files["model.safetensors"]
        digest = digest or hashlib.sha256(body).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(body)}\n"
        answers[f"/{name}/raw/main/model.safetensors"] = _giving(pointer.encode())
    return answers


def _giving(body: bytes):
    return lambda handler: handler.give(body)
