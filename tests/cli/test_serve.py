"""`segnet serve` in a subprocess: start, one error line on failure, and a clean shutdown."""

import importlib.util
import io
import json
import os
import shlex
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from predicting import REPOSITORY
from serve_process import ask, encoded, needs_extra, noise
from warm_python import WARM_PYTHON

from segnet.cli.serve import main
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.inference.predictor import Predictor
from segnet.workflows.export import export


@needs_extra
def test_concurrent_clients_get_the_predictors_results(serve, checkpoint):
    _, url = serve("--queue", "3")
    image, content = noise(61, 47)
    busy = []

    def one(_):
        while True:
            status, body, headers = ask(f"{url}/predict?output=mask", content)
            if status != 503:
                return status, body
            busy.append(int(headers["Retry-After"]))
            time.sleep(0.02)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(48)))
    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1
    mask = np.array(Image.open(io.BytesIO(answers[0][1])))
    np.testing.assert_array_equal(mask, Predictor(checkpoint, "cpu")(image).mask)
    assert all(seconds >= 1 for seconds in busy)
    assert json.loads(ask(f"{url}/health")[1])["places_taken"] == 0


@needs_extra
def test_collected_masks_train_the_next_model(serve, checkpoint, tmp_path):
    """Serve, predict, correct, save, and train on the folder with the printed command."""
    folder = tmp_path / "my masks"
    process, url = serve("--collect", folder)
    assert json.loads(ask(f"{url}/model")[1])["collects"]
    for number in range(4):
        image, content = noise(40, 48, number)
        mask = np.array(Image.open(io.BytesIO(ask(f"{url}/predict?output=mask", content)[1])))
        np.testing.assert_array_equal(mask, Predictor(checkpoint, "cpu")(image).mask)
        mask[:20] = number % 3  # the correction
        mask[30:] = 255  # not sure
        query = f"image_bytes={len(content)}&name=photo%20{number}.png"
        status, body, _ = ask(f"{url}/collect?{query}", content + encoded(mask))
        assert (status, json.loads(body)["count"]) == (200, number + 1)
    process.terminate()
    assert "warning" not in process.communicate(timeout=600)[1]
    assert not list(tmp_path.rglob("*.tmp"))

    command = next(line for line in process.printed if line.startswith("to train on them: segnet "))
    options = ["backbone.depths=[1,1,1,1]", "backbone.base_channels=8", "decoder.decoder_channels=8"]
    options += ["backbone_weights=null", "data.batch_size=2", "data.crop_size=32", "data.num_workers=0"]
    options += ["trainer.max_epochs=1", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path / 'run'}"]
    trained = subprocess.run(
        [*WARM_PYTHON, "-m", "segnet", *shlex.split(command.partition("segnet ")[2]), *options],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert trained.returncode == 0, trained.stderr
    assert Predictor(tmp_path / "run" / "best.ckpt", "cpu").classes == Predictor(checkpoint, "cpu").classes


@needs_extra
def test_a_folder_that_cannot_collect_is_refused(checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--collect .*file: is a file, not a folder"):
        main(["--checkpoint", str(checkpoint), "--port", "0", "--collect", str(tmp_path / "file")])
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(noise(5, 5)[1])
    with pytest.raises(ConfigError, match=r"--collect .*: holds images or masks, but no segnet\.json"):
        main(["--checkpoint", str(checkpoint), "--device", "cpu", "--port", "0", "--collect", str(tmp_path)])


@needs_extra
def test_an_exported_model_is_served(serve, checkpoint, tmp_path):
    export(checkpoint, "pt2", tmp_path / "model.pt2", "logits", lambda _: None)
    _, url = serve("--checkpoint", tmp_path / "model.pt2", "--runtime", "torch")
    image, content = noise(40, 33)
    status, body, _ = ask(f"{url}/predict?output=mask", content)
    assert status == 200
    mask = np.array(Image.open(io.BytesIO(body)))
    assert (mask == Predictor(checkpoint, "cpu")(image).mask).mean() > 0.99


@needs_extra
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "torch", "--precision", "fp16"], "precision=fp16 needs a GPU"),
        (["--runtime", "onnxruntime", "--precision", "bf16"], "precision=bf16 is not supported by runtime=onnxruntime"),
        (["--runtime", "onyx"], "argument --runtime: invalid choice"),
    ],
)
def test_runtime_and_precision_reach_the_predictor(checkpoint, options, message):
    with pytest.raises(ConfigError, match=message):
        main(["--checkpoint", str(checkpoint), "--device", "cpu", "--port", "0", *options])


@needs_extra
def test_limits_of_the_command_line_are_enforced(serve):
    _, url = serve("--max-megabytes", "0.01", "--max-megapixels", "0.001")
    assert ask(f"{url}/predict", noise(10, 10)[1])[0] == 200
    assert ask(f"{url}/predict", noise(40, 40)[1])[0] == 413  # 1600 pixels
    status, body, _ = ask(f"{url}/predict", noise(100, 100)[1])  # 30 kB
    assert (status, json.loads(body)["error"]) == (413, "the file has more than 0.01 MB: scale it down")


@needs_extra
def test_a_port_in_use_is_reported_in_one_line(serve, checkpoint):
    _, url = serve()
    port = url.rpartition(":")[2]
    with pytest.raises(
        MachineError, match=rf"--port {port}: not available on 127\.0\.0\.1 \(address already in use\); --port 0"
    ):
        main(["--checkpoint", str(checkpoint), "--port", port])


@needs_extra
def test_serving_the_network_prints_a_warning(serve):
    process, url = serve("--host", "0.0.0.0")
    assert socket.gethostname() in url
    assert ask(f"http://127.0.0.1:{url.rpartition(':')[2]}/health")[0] == 200
    process.terminate()
    assert "without a password" in process.communicate(timeout=600)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "--port 70000 must be 65535 or less"),
        (["--port", "-1"], "--port -1 must be 0 or more"),
        (["--port", "http"], "--port"),
        (["--queue", "-1"], "--queue -1 must be 0 or more"),
        (["--timeout", "0"], "--timeout 0 must be 0.1 or more"),
        (["--timeout", "nan"], "--timeout nan must be"),
        (["--max-megabytes", "inf"], "--max-megabytes inf must be"),
        (["--max-megapixels", "0"], "--max-megapixels 0 must be"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        main(options)


@needs_extra
def test_an_unknown_address_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"--host no\.such\.host\.invalid: unknown address"):
        main(["--checkpoint", str(checkpoint), "--host", "no.such.host.invalid"])


@needs_extra
def test_an_address_of_another_machine_is_refused(checkpoint):
    with pytest.raises(MachineError, match=r"--host 192\.0\.2\.1: .*; use 127\.0\.0\.1 for this machine only"):
        main(["--checkpoint", str(checkpoint), "--host", "192.0.2.1"])


@needs_extra
def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        main(["--checkpoint", str(tmp_path / "none.ckpt"), "--port", "0"])


def test_missing_packages_are_reported_with_the_extra(checkpoint, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r'needs starlette and uvicorn: pip install "segnet\[serve\]"'):
        main(["--checkpoint", str(checkpoint)])
