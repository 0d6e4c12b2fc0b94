"""The page of the application in a headless Chromium; its tests are skipped where there is none."""

import socket
import threading

import pytest


@pytest.fixture
def server(request, tmp_path):
    """The application on a local port, with `url` and `stop()`; tests of saving collect into a folder."""
    uvicorn = pytest.importorskip("uvicorn")
    from served import Overlapping, Server

    collects = "collected" in request.fixturenames
    predictor = Overlapping() if "overlapping" in request.fixturenames else None
    server = Server(predictor, max_bytes=100_000, collect=tmp_path / "collected" if collects else None)
    if "predictor_refinement" in request.fixturenames:
        server.predictor.refinement = request.getfixturevalue("predictor_refinement")
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = uvicorn.Server(uvicorn.Config(server.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop():
        server.predictor.gate.set()
        running.should_exit = True
        thread.join(60)

    server.stop = stop
    yield server
    stop()


@pytest.fixture
def page(browser, server):
    """The opened page; requests to other servers and script errors are failures."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.wrong = []
    page.on(
        "request",
        lambda request: request.url.startswith((server.url, "blob:", "data:")) or page.wrong.append(request.url),
    )
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: "Security" in line.text and page.wrong.append(line.text))
    page.goto(server.url)
    page.wait_for_selector("#classes li")
    yield page
    assert page.wrong == []
    context.close()


@pytest.fixture
def overlapping():
    """Several classes per pixel."""


@pytest.fixture
def collected(tmp_path):
    """The folder of a server that collects."""
    return tmp_path / "collected"
