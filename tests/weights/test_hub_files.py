"""Models of the Hugging Face hub, from a local server."""

import sys
import types

import pytest
from downloading import cached, refusal
from loopback import answers_of_hub

from segnet.errors import CheckpointError, MachineError
from segnet.weights.download import fetch

HUB = "someone/resnet50d"


WEIGHTS, CONFIG = b"weights" * 1000, b'{"mean": [0.5]}'


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server is the hub, with one model; nothing of the user's own cache is seen."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an ImportError if it were asked
    server.answers.update(answers_of_hub(HUB, {"model.safetensors": WEIGHTS, "config.json": CONFIG}))
    return server


def test_a_model_of_the_hub_comes_with_its_config_and_is_kept(hub):
    path = fetch(HUB)
    assert path.read_bytes() == WEIGHTS
    assert path.with_name("config.json").read_bytes() == CONFIG
    asked = len(hub.requests)
    assert fetch(HUB) == path
    assert len(hub.requests) == asked


def test_a_model_of_the_hub_may_lack_a_config(hub):
    del hub.answers[f"/{HUB}/resolve/main/config.json"]
    assert fetch(HUB).name == "model.safetensors"


def test_a_hub_model_with_another_digest_is_refused(hub, tmp_path):
    hub.answers.update(answers_of_hub(HUB, {"model.safetensors": WEIGHTS}, digest="0" * 64))
    with pytest.raises(CheckpointError, match="damaged download, its sha256 starts with"):
        fetch(HUB)
    hub.answers[f"/{HUB}/resolve/main/model.safetensors"] = lambda handler: handler.give(WEIGHTS[:-1])
    assert "truncated after 6999 of 7000 bytes" in refusal(HUB, MachineError)
    assert [path.name for path in cached(tmp_path)] == ["config.json"]


def test_the_cache_of_the_hub_is_used_first(hub, tmp_path):
    model = tmp_path / "huggingface" / "hub" / f"models--{HUB.replace('/', '--')}"
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").write_bytes(b"mine")
    assert fetch(HUB) == snapshot / "model.safetensors"
    assert not hub.requests


def test_a_model_of_the_hub_without_safe_weights_is_refused(hub):
    hub.answers.clear()
    assert "has no model.safetensors" in refusal(HUB, CheckpointError)


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_hub_the_files_to_download_are_named(hub, monkeypatch, offline):
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    message = refusal(HUB, MachineError)
    assert f"/{HUB}/resolve/main/model.safetensors and " in message
    assert f"/{HUB}/resolve/main/config.json manually into one folder" in message
    assert ("HF_HUB_OFFLINE is set" in message) == offline
    assert not hub.requests


def refuse_login(handler):
    handler.send_error(401)


def test_a_model_that_the_hub_does_not_show_needs_the_package(hub):
    hub.answers[f"/{HUB}/raw/main/model.safetensors"] = refuse_login
    message = refusal(HUB, CheckpointError)
    assert "no public model on the hub has this name; for a private one pip install" in message


@pytest.fixture
def package(hub, monkeypatch, tmp_path):
    """Stands in for huggingface_hub: `files` are on the hub; a value that is an error is raised."""
    hub.answers[f"/{HUB}/raw/main/model.safetensors"] = refuse_login
    errors = types.ModuleType("huggingface_hub.errors")
    # as huggingface_hub.errors has them
    errors.EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})
    errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (FileNotFoundError, errors.EntryNotFoundError), {})
    errors.RepositoryNotFoundError = type("RepositoryNotFoundError", (OSError,), {})
    errors.HFValidationError = type("HFValidationError", (ValueError,), {})
    module = types.ModuleType("huggingface_hub")
    module.errors = errors
    module.files = {"model.safetensors": b"weights", "config.json": b"{}"}
    module.asked = []

    def hf_hub_download(name, file):
        module.asked.append((name, file))
        content = module.files.get(file, errors.EntryNotFoundError("404"))
        if isinstance(content, Exception):
            raise content
        path = tmp_path / "snapshot" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return module


def test_a_private_model_is_fetched_by_the_package(package, tmp_path):
    path = fetch(HUB)
    assert path == tmp_path / "snapshot" / "model.safetensors"
    assert (path.parent / "config.json").exists()
    assert package.asked == [(HUB, "model.safetensors"), (HUB, "config.json")]


def test_a_private_model_may_lack_a_config(package):
    del package.files["config.json"]
    assert fetch(HUB).name == "model.safetensors"


@pytest.mark.parametrize("kind", ["RepositoryNotFoundError", "HFValidationError"])
def test_a_model_that_the_hub_does_not_have_is_refused(package, kind):
    package.files["model.safetensors"] = getattr(package.errors, kind)("no\nsuch")
    assert "no public model on the hub has this name" in refusal(HUB, CheckpointError)


def test_a_private_model_without_safe_weights_is_refused(package):
    del package.files["model.safetensors"]
    assert "has no model.safetensors" in refusal(HUB, CheckpointError)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_connection_lost_by_the_package_is_reported_with_the_files(package, file):
    package.files[file] = ConnectionError("no\nroute")
    assert "(the hub is not reachable): download http" in refusal(HUB, MachineError)


def test_the_fake_hub_behaves_like_the_hub():
    errors = pytest.importorskip("huggingface_hub.errors")
    assert issubclass(errors.LocalEntryNotFoundError, errors.EntryNotFoundError)
    for one, other in (("RepositoryNotFoundError", "EntryNotFoundError"), ("HFValidationError", "EntryNotFoundError")):
        assert not issubclass(getattr(errors, one), getattr(errors, other))
