"""All limits and errors of the HTTP interface, without a network; answers are validated against the OpenAPI schema."""

import asyncio
import base64
import errno
import io
import re
import zlib

import numpy as np
import pytest
import torch

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from PIL import Image
from served import CLASSES, PNG, SCHEMA, Server, Threshold, check_schema, encoded, error_of, halves
from tiny import components

from segnet.config import OptimConfig
from segnet.errors import MachineError
from segnet.images.bands import read_bands
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes import open_runtime
from segnet.inference.segmentation import Segmentation
from segnet.models.checkpoint import save_checkpoint
from segnet.serving.app import STATIC
from segnet.training.task import SegmentationTask


def until(condition):
    """Wait for a condition set by another thread."""

    async def wait():
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.005)

    asyncio.run(wait())


def mask_of(response):
    assert response.status_code == 200, response.text
    return np.array(Image.open(io.BytesIO(response.content)))


def test_the_requested_output_is_returned():
    server = Server()
    answer = server.predict(encoded(halves()))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    check_schema("Segmentation", found)
    assert [entry["share"] for entry in found["classes"]] == [0.5, 0.5, 0]
    check_schema("Segmentation", server.predict(encoded(halves()), "?image=true").json())
    kinds = {"mask": "image/png", "overlay": "image/png", "confidence": "image/png", "polygons": "application/geo+json"}
    for output, kind in kinds.items():
        answer = server.predict(encoded(halves()), f"?output={output}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    check_schema("FeatureCollection", answer.json())
    assert server.queue.num_taken == 0


def test_model_and_health_match_the_schema():
    server = Server(max_bytes=7, max_pixels=8, waiting=3, timeout=9)
    found = server.get("/model").json()
    check_schema("Model", found)
    assert found["limits"] == {"bytes": 7, "pixels": 8, "seconds": 9}
    assert [entry["name"] for entry in found["classes"]] == ["dark", "<b>light</b>", "never"]
    found = server.get("/health").json()
    check_schema("Health", found)
    assert (found["places"], found["places_taken"]) == (4, 0)


def test_the_schema_lists_every_path_parameter_and_status():
    assert set(SCHEMA["paths"]) == {"/predict", "/collect", "/model", "/health"}
    predict = SCHEMA["paths"]["/predict"]["post"]
    assert [entry["name"] for entry in predict["parameters"]] == [
        "output",
        "opacity",
        "tolerance",
        "image",
        "confidence",
        "threshold",
        "refuse",
        "min_area",
    ]
    collect = SCHEMA["paths"]["/collect"]["post"]
    assert [entry["name"] for entry in collect["parameters"]] == ["image_bytes", "name", "replace"]
    assert set(collect["responses"]) == set(predict["responses"]) | {"409"}
    assert set(predict["responses"]) == {"200", "400", "403", "408", "413", "415", "422", "500", "503", "504"}
    assert Server().get("/openapi.json").json() == SCHEMA


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_every_format_is_detected_by_content(file_format):
    server = Server()
    content = encoded(halves(16, 32), file_format)
    for content_type in (f"image/{file_format.lower()}", "application/octet-stream", "image/png; charset=binary"):
        mask = mask_of(server.predict(content, "?output=mask", {"Content-Type": content_type}))
        np.testing.assert_array_equal(mask, halves(16, 32)[:, :, 0] > 127)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    mask = mask_of(Server().predict(encoded(halves(6, 10), "JPEG", quality=100, exif=exif.tobytes()), "?output=mask"))
    assert mask.shape == (10, 6)
    assert (mask[:4] == 0).all()
    assert (mask[6:] == 1).all()


def test_multi_band_tiffs_are_detected_by_their_first_bytes(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    bands = np.zeros((4, 5, 8), np.uint16)
    bands[:, 3:] = 60000
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    server = Server(Threshold(channels=8))
    content = (tmp_path / "a.tif").read_bytes()
    mask = mask_of(server.predict(content, "?output=mask", {"Content-Type": "application/octet-stream"}))
    assert mask.tolist() == [[0, 0, 0, 1, 1]] * 4
    assert "8" in error_of(server.predict(encoded(halves())), 422)
    small = Server(Threshold(channels=8), max_pixels=10)
    assert "5 x 4 pixels" in error_of(small.predict(content, headers={"Content-Type": "image/tiff"}), 413)


def test_16_bit_bands_reach_the_model_unchanged(tmp_path):
    """End to end with a real model: values are not scaled twice."""
    tifffile = pytest.importorskip("tifffile")
    torch.manual_seed(0)
    model = components()
    model["backbone"]["in_channels"] = 5
    model |= {"mean": [0.5] * 5, "std": [0.2] * 5}
    task = SegmentationTask.create(model=model, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig())
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, tmp_path / "a.ckpt")
    values = np.random.default_rng(0).integers(0, 65536, (33, 40, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")

    server = Server(Predictor(tmp_path / "a.ckpt", "cpu"))
    content = (tmp_path / "a.tif").read_bytes()
    mask = mask_of(server.predict(content, "?output=mask", {"Content-Type": "image/tiff"}))
    bands = torch.from_numpy(read_bands(tmp_path / "a.tif", 5)).permute(2, 0, 1)[None]
    expected = open_runtime(tmp_path / "a.ckpt", "cpu")(bands)[0].argmax(dim=0)
    assert len(expected.unique()) > 1
    assert (mask == expected.numpy()).mean() > 0.99
    assert server.predict(content, "?image=true", {"Content-Type": "image/tiff"}).json()["image"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "upload: is not an image in one of these formats: JPEG, PNG, TIFF"),
        (encoded(halves(50, 50))[:-60], "upload: cannot be decoded"),
        (encoded(halves(50, 50), "TIFF")[:300], "upload.tif: cannot be decoded"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "upload: is not an image"),
    ],
)
def test_errors_do_not_reveal_server_paths(content, message):
    server = Server()
    found = error_of(server.predict(content), 422)
    assert found.startswith(message)
    assert "/" not in found
    assert server.queue.num_taken == 0
    assert server.predictor.num_calls == 0


def test_a_timed_out_prediction_keeps_its_place_until_it_ends():
    server = Server(timeout=0.3, waiting=0)
    server.predictor.gate.clear()
    assert "time limit" in error_of(server.predict(encoded(halves())), 504)
    assert server.queue.num_taken == 1
    answer = server.predict(encoded(halves()))
    error_of(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert server.get("/health").json()["places_taken"] == 1
    server.predictor.gate.set()
    until(lambda: server.queue.num_taken == 0)
    assert server.predict(encoded(halves())).status_code == 200


def test_concurrent_requests_get_identical_answers():
    server = Server(waiting=4)
    content = encoded(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    alone = server.predict(content, "?output=mask").content
    busy = []
    server.predictor.gate.clear()  # closed until one request was refused, independent of the machine's speed

    async def ask(client):
        while True:
            answer = await client.post("/predict?output=mask", content=content, headers=PNG)
            assert server.queue.num_taken <= 5
            if answer.status_code != 503:
                return answer
            busy.append(int(answer.headers["retry-after"]))
            server.predictor.gate.set()
            await asyncio.sleep(0.01)

    async def main():
        async with server.client() as client:
            return await asyncio.gather(*(ask(client) for _ in range(60)))

    answers = asyncio.run(main())
    assert [answer.status_code for answer in answers] == [200] * 60
    assert {answer.content for answer in answers} == {alone}
    assert server.predictor.num_calls == 61
    assert server.predictor.most == 1
    assert busy
    assert min(busy) >= 1
    assert server.queue.num_taken == 0


def test_machine_errors_are_reported_and_internal_errors_hidden():
    class Failing(Threshold):
        def segment(self, image, probabilities=False, refinement=None):
            raise self.error

    server = Server(Failing())
    server.predictor.error = MachineError("GPU out of memory")
    assert error_of(server.predict(encoded(halves())), 500) == "GPU out of memory"
    server.predictor.error = IndexError("secret")
    assert "secret" not in error_of(server.predict(encoded(halves())), 500)
    assert server.queue.num_taken == 0


def test_a_full_disk_is_reported(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("segnet.serving.uploads.open", full, raising=False)
    server = Server()
    assert "No space left on device" in error_of(server.predict(encoded(halves())), 500)
    assert server.queue.num_taken == 0


def test_unknown_paths_refer_to_the_schema():
    server = Server()
    assert "/openapi.json" in error_of(server.get("/nowhere"), 404)
    assert "/openapi.json" in error_of(server.request("POST", "/"), 405)
    assert "/openapi.json" in error_of(server.request("DELETE", "/model"), 405)
    answer = server.get("/predict")
    assert "POST" in error_of(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/%00", "/static", "//etc/passwd"])
def test_only_the_page_is_served(path):
    assert Server().get(path).status_code in (404, 405)


def test_the_page_loads_no_external_resources():
    shared = STATIC.parents[1] / "images" / "static"
    names = {path.name for folder in (STATIC, shared) for path in folder.iterdir()}
    scripts = {
        f"{name}.js"
        for name in ("page", "images", "input", "legend", "view", "tools", "paint", "save", "png", "server", "overlap")
    }
    assert names == {"index.html", "page.css", "theme.css", *scripts, "icon.svg", "openapi.json"}
    server = Server()
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in names - {"openapi.json"}:
        answer = server.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == kinds[name.split(".")[1]]
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"//\w", text)


def test_the_confidence_is_the_probability_of_each_pixels_class(monkeypatch):
    server = Server()
    expected = np.where(halves()[:, :, 0] > 127, 191, 128)
    np.testing.assert_array_equal(mask_of(server.predict(encoded(halves()), "?output=confidence")), expected)
    found = server.predict(encoded(halves()), "?confidence=true").json()
    check_schema("Segmentation", found)
    values = np.frombuffer(zlib.decompress(base64.b64decode(found["confidence"])), np.uint8)
    np.testing.assert_array_equal(values.reshape(6, 10), expected)
    assert "confidence" not in server.predict(encoded(halves())).json()
    assert "of output=mask" in error_of(server.predict(encoded(halves()), "?output=mask&confidence=true"), 400)
    monkeypatch.setattr("segnet.serving.answers.MAX_PROBABILITIES", 2 * 3 * 6 * 10 - 1)
    assert "confidence" not in server.predict(encoded(halves()), "?confidence=true").json()
    assert "takes at most 0.0 megapixels" in error_of(server.predict(encoded(halves()), "?output=confidence"), 422)


def test_more_than_256_classes_keep_their_ids():
    from segnet.classes import Classes, voc_palette

    class Wide(Threshold):
        def segment(self, image, probabilities=False, refinement=None):
            ids = np.array([[0, 299], [256, 7]], np.uint16)
            return Segmentation(image, ids, self.classes)

    predictor = Wide()
    predictor.classes = Classes.create([f"c{i}" for i in range(300)], voc_palette(300), 65535)
    mask = mask_of(Server(predictor).predict(encoded(halves(2, 2)), "?output=mask"))
    assert mask.tolist() == [[0, 299], [256, 7]]
