"""`segnet serve` stops cleanly after a signal, and at once after a second one."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from predicting import REPOSITORY
from serve_process import ask, needs_extra, noise
from warm_python import WARM_PYTHON


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
