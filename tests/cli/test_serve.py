"""`segnet serve` in a subprocess: start, one error line on failure, and a clean shutdown."""

import importlib.util
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import components
from warm_python import WARM_PYTHON

from segnet.classes import Classes
from segnet.cli.serve import main
from segnet.config import OptimConfig
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.inference.predictor import Predictor
from segnet.models.checkpoint import save_checkpoint
from segnet.training.task import SegmentationTask
from segnet.workflows.export import export

REPOSITORY = Path(__file__).resolve().parents[2]
needs_extra = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))), reason='needs pip install "segnet[serve]"'
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A real checkpoint of an untrained model."""
    torch.manual_seed(0)
    model = {**components(), "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    classes = Classes.create(["road", "tree", "sky"])
    task = SegmentationTask.create(model=model, classes=classes, loss={"name": "cross_entropy"}, optim=OptimConfig())
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


@pytest.fixture
def serve(checkpoint):
    """A function that starts a server on a free port: (process, URL)."""
    processes = []

    def start(*options):
        command = ["-m", "segnet", "serve", "--checkpoint", checkpoint, "--device", "cpu", "--port", "0", *options]
        process = subprocess.Popen(
            [*WARM_PYTHON, *map(str, command)],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        process.printed = []
        for line in process.stdout:
            process.printed.append(line)
            if line.startswith("serving at "):
                return process, line.split()[2]
        pytest.fail(process.communicate()[1])

    yield start
    for process in processes:
        process.terminate()  # SIGTERM, so that it removes its upload folder
        process.communicate(timeout=600)


def ask(url, content=None):
    """(status, body, headers); OSError if the server has ended."""
    request = urllib.request.Request(url, content, {"Content-Type": "image/png"} if content else {})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def noise(height, width, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return image, encoded(image)


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


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
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_stops_it_after_requests_in_progress_are_answered(serve, signum, name):
    process, url = serve()
    _, content = noise(700, 700)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, f"{url}/predict?output=mask", content)
        while not json.loads(ask(f"{url}/health")[1])["places_taken"] and not under_way.done():
            time.sleep(0.005)
        process.send_signal(signum)
        assert under_way.result(600)[0] == 200
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 128 + signum
    assert errors.splitlines()[-1] == f"segnet: {name} ended the server"
    assert "Traceback" not in errors


@needs_extra
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_during_loading_stops_it_cleanly(checkpoint, tmp_path):
    script = f"""if True:
        import os, signal
        from segnet.cli import main
        from segnet.inference import predictor
        predictor.Predictor = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(main(["serve", "--checkpoint", {str(checkpoint)!r}, "--port", "0"]))
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*WARM_PYTHON, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "segnet: SIGTERM ended the server\n")
    assert not list(tmp_path.glob("segnet-*"))


@needs_extra
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_ctrl_c_quits_at_once(checkpoint, tmp_path):
    """During a prediction that never ends; the uploaded image is removed."""
    script = f"""if True:
        import threading
        from segnet.inference.predictor import Predictor
        def never(self, image, **options):
            print("predicting", flush=True)
            threading.Event().wait()
        Predictor.segment = never
        from segnet.cli import main
        main(["serve", "--checkpoint", {str(checkpoint)!r}, "--device", "cpu", "--port", "0"])
    """
    process = subprocess.Popen(
        [*WARM_PYTHON, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = next(line.split()[2] for line in process.stdout if line.startswith("serving at "))
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, f"{url}/predict", noise(5, 5)[1])
        assert process.stdout.readline() == "predicting\n"
        assert len(list(tmp_path.rglob("upload"))) == 1
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "Ctrl-C again to quit at once" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(600) == 130
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            under_way.result(600)
    assert process.stderr.read() == "segnet: quit\n"
    assert not list(tmp_path.glob("segnet-*"))
    process.communicate()


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
