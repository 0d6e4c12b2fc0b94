"""Uploads to the HTTP interface: their limits, stalls and damage."""

import asyncio
import io

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from PIL import Image
from served import PNG, Server, bomb, encoded, error_of, halves


def test_an_empty_body_is_refused():
    assert "send the bytes of an image" in error_of(Server().predict(b""), 400)


def test_parameters_are_checked_before_the_upload():
    assert "Did you mean 'output'?" in error_of(Server(max_bytes=1).predict(encoded(halves()), "?outptu=mask"), 400)


def test_too_large_files_are_refused_by_length_and_while_receiving():
    content = encoded(halves())
    server = Server(max_bytes=len(content) - 1)
    assert "MB" in error_of(server.predict(content), 413)

    async def chunks():
        for start in range(0, len(content), 10):
            yield content[start : start + 10]

    assert "MB" in error_of(server.predict(chunks()), 413)
    assert server.queue.num_taken == 0
    assert Server(max_bytes=len(content)).predict(chunks()).status_code == 200


def test_too_many_pixels_are_refused_from_the_header():
    server = Server(max_pixels=60)
    assert server.predict(encoded(halves(6, 10))).status_code == 200
    assert "10 x 7 pixels" in error_of(server.predict(encoded(halves(7, 10))), 413)
    assert "9000 x 9000 pixels, more than 50 megapixels" in error_of(Server().predict(bomb(9000)), 413)
    assert "megapixels" in error_of(Server().predict(bomb(60000)), 413)


def test_a_too_slow_upload_is_aborted():
    async def drip():
        yield encoded(halves())[:20]
        await asyncio.sleep(3600)

    server = Server(timeout=0.2)
    answer = server.predict(drip())
    assert "within the server's time limit" in error_of(answer, 408)
    assert answer.headers["connection"] == "close"
    assert server.queue.num_taken == 0


def test_images_above_pillows_limit_get_the_servers_message():
    found = error_of(Server().predict(bomb(60000)), 413)
    assert found == "the image has more than 50 megapixels: scale it down"


def test_12_bit_images_in_16_bit_files_are_logged_once(caplog):
    content = io.BytesIO()
    Image.fromarray(np.linspace(0, 4095, 30).reshape(5, 6).astype(np.uint16)).save(content, "PNG")
    server = Server()
    for _ in range(2):
        assert server.predict(content.getvalue()).status_code == 200
    assert sum("almost black to a model without a value range" in text for text in caplog.messages) == 1


def test_a_float_tiff_out_of_range_gets_advice_for_a_client():
    content = io.BytesIO()
    Image.fromarray(np.full((5, 6), 300, np.float32)).save(content, "TIFF")
    found = error_of(Server().predict(content.getvalue()), 422)
    assert found.endswith("are outside 0-1: convert it to 8 or 16 bits")


def test_a_too_large_float_tiff_is_refused_before_decoding(monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((3000, 3000, 3), np.float32), compression="zlib", photometric="rgb")
    monkeypatch.setattr("segnet.images.model_images.read_bands", lambda *_: pytest.fail("it was decoded"))
    answer = Server(max_pixels=4_000_000).predict(buffer.getvalue(), headers={"Content-Type": "image/tiff"})
    assert "3000 x 3000 pixels, more than 4 megapixels" in error_of(answer, 413)


def test_stalled_uploads_do_not_block_others(monkeypatch):
    monkeypatch.setattr("segnet.serving.uploads.MAX_UPLOADS", 4)
    monkeypatch.setattr("segnet.serving.uploads.GRACE_SECONDS", 0.1)
    server = Server(waiting=0)

    async def stalled():
        yield encoded(halves())[:20]
        await asyncio.sleep(3600)

    async def main():
        async with server.client() as client:

            def post(content):
                return asyncio.create_task(client.post("/predict", content=content, headers=PNG))

            silent = [post(stalled()) for _ in range(4)]
            await asyncio.sleep(0.3)
            assert (await client.get("/health")).json()["places_taken"] == 0
            assert (await post(encoded(halves()))).status_code == 200
            assert await asyncio.wait_for(silent[0], 30)  # it was aborted
            assert silent[0].result().status_code == 408
            for task in silent:
                task.cancel()
            await asyncio.gather(*silent, return_exceptions=True)

    asyncio.run(main())


def test_disconnected_clients_are_not_predicted():
    """A page with a newer image has closed its request."""
    server = Server(waiting=2)
    server.predictor.gate.clear()

    async def main():
        async with server.client() as client:
            first = asyncio.create_task(client.post("/predict", content=encoded(halves()), headers=PNG))
            assert await asyncio.to_thread(server.predictor.began.acquire, timeout=60)
            messages = [{"type": "http.request", "body": encoded(halves()), "more_body": False}]
            gone = asyncio.Event()

            async def receive():
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                pass

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/predict",
                "query_string": b"",
                "headers": [(b"content-type", b"image/png")],
            }
            second = asyncio.create_task(server.app(scope, receive, send))
            while server.queue.num_taken < 2:
                await asyncio.sleep(0.005)
            gone.set()
            await second
            assert server.queue.num_taken == 1
            server.predictor.gate.set()
            assert (await first).status_code == 200

    asyncio.run(main())
    assert server.predictor.num_calls == 1


def test_a_truncated_body_leaves_no_file():
    server = Server()
    messages = [{"type": "http.request", "body": b"\x89PNG", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
    asyncio.run(server.app(scope, receive, send))
    assert server.queue.num_taken == 0
    assert list(server.uploads.iterdir()) == []


def test_uploads_are_deleted_after_the_answer():
    server = Server(max_bytes=10_000)
    for content in (encoded(halves()), b"no image", bomb(60000), b"x" * 10_001):
        server.predict(content)
    assert list(server.uploads.iterdir()) == []
