"""Every runtime matches the model's logits, and refuses unsupported options in one line."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from exports import CLASSES, TEMPERATURE

from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.inference.runtimes import open_runtime
from segnet.inference.runtimes.onnx import OnnxRuntime
from segnet.inference.runtimes.openvino import OpenVINORuntime
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.models.checkpoint import load_checkpoint
from segnet.system import machine
from segnet.workflows.export import export

FILES = [("onnx", "onnxruntime"), ("onnx", "openvino"), ("openvino", "openvino"), ("pt2", "torch")]


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def need(runtime):
    if runtime != "torch":
        pytest.importorskip(runtime)


@pytest.mark.parametrize(("format", "runtime"), FILES)
def test_exports_match_the_logits_of_the_checkpoint(exports, format, runtime):
    need(runtime)
    opened = open_runtime(exports.get(format), "cpu", runtime)
    assert opened.classes == CLASSES
    assert opened.temperature.values == (TEMPERATURE,)
    assert opened.channels == 3
    assert opened.device == torch.device("cpu")
    assert opened.metadata.mean == pytest.approx([0.485, 0.456, 0.406])
    model, _ = load_checkpoint(exports.checkpoint)
    for shape in ((2, 3, 33, 97), (1, 3, 1, 1), (1, 3, 64, 32), (3, 3, 17, 40)):
        with torch.inference_mode():
            expected = model(images(*shape))
        logits = opened(images(*shape))
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        torch.testing.assert_close(opened(images(*shape).float()), logits)


@pytest.mark.parametrize(("format", "runtime"), FILES[:2] + FILES[3:])
def test_exported_class_ids_become_one_hot_logits(exports, format, runtime):
    need(runtime)
    opened = open_runtime(exports.get(format, "classes"), "cpu", runtime)
    assert opened.temperature.is_one
    assert opened.metadata.temperature.values == (TEMPERATURE,)
    logits = opened(images(2, 3, 33, 47))
    expected = TorchRuntime(exports.checkpoint, "cpu")(images(2, 3, 33, 47))
    assert logits.shape == expected.shape
    assert (logits.softmax(dim=1).amax(dim=1) > 0.999999).all()
    assert (logits.argmax(dim=1) == expected.argmax(dim=1)).double().mean() > 0.999


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_are_thread_safe(exports, runtime):
    need(runtime)
    opened = open_runtime(exports.get("onnx"), "cpu", runtime)
    batches = [images(1, 3, 32 + 7 * i, 40) for i in range(8)]
    alone = [opened(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, together in zip(alone, pool.map(opened, batches), strict=True):
            assert torch.equal(one, together)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_falls_back_to_float32_with_a_warning(exports, runtime, monkeypatch, caplog):
    need(runtime)
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    machine._warn_of_missing_bf16.cache_clear()
    path = exports.checkpoint if runtime == "torch" else exports.get("onnx")
    logits = open_runtime(path, "cpu", runtime, "bf16")(images(1, 3, 32, 48))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no bf16 instructions" in caplog.messages[0]
    torch.testing.assert_close(logits, open_runtime(path, "cpu", runtime)(images(1, 3, 32, 48)), rtol=0, atol=0)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_outputs_are_close(exports, runtime):
    need(runtime)
    if runtime == "openvino":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("a CPU without bf16")
        opened = OpenVINORuntime(exports.get("onnx"), precision="bf16")
    else:
        opened = open_runtime(exports.checkpoint, "cpu", "torch", "bf16")
    expected = TorchRuntime(exports.checkpoint, "cpu")(images(1, 3, 64, 64))
    assert (opened(images(1, 3, 64, 64)) - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, "runtime=tensorrt is unknown"),
        ({"precision": "fp32"}, "precision=fp32 is unknown"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "precision=bf16 is not supported by runtime=onnxruntime"),
        ({"runtime": "torch", "precision": "fp16"}, "precision=fp16 needs a GPU"),
    ],
)
def test_unsupported_options_are_refused(exports, options, message):
    with pytest.raises(ConfigError, match=message):
        open_runtime(exports.checkpoint, "cpu", **options)


@pytest.mark.parametrize("name", ["folder", "folder/model.safetensors"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_safetensors_run_only_in_torch(exports, name, runtime, tmp_path):
    export(exports.checkpoint, "safetensors", tmp_path / "folder", "logits", lambda _: None)
    with pytest.raises(ConfigError, match=f"runtime={runtime} does not run .*{name}: use torch"):
        open_runtime(tmp_path / name, "cpu", runtime)
    opened = open_runtime(tmp_path / name, "cpu")
    assert type(opened).__name__ == "TorchRuntime"
    assert opened.temperature.values == (TEMPERATURE,)


def test_exports_refuse_unsupported_runtimes(exports):
    with pytest.raises(ConfigError, match=r"runtime=torch does not run .*onnx: use openvino or onnxruntime"):
        open_runtime(exports.get("onnx"), "cpu", "torch")
    with pytest.raises(ConfigError, match=r"precision=bf16: .*pt2 is float32"):
        open_runtime(exports.get("pt2"), "cpu", precision="bf16")


@pytest.mark.parametrize(("format", "runtime"), FILES)
def test_damaged_foreign_and_missing_files_are_refused(exports, tmp_path, format, runtime):
    need(runtime)
    source = exports.get(format)
    damaged = tmp_path / source.name
    damaged.write_bytes(source.read_bytes()[:1000])
    if format == "openvino":
        with pytest.raises(CheckpointError, match="no such exported model"):
            open_runtime(damaged, "cpu", runtime)
        shutil.copy(source.with_suffix(".bin"), damaged.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="damaged") as error:
        open_runtime(damaged, "cpu", runtime)
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no such exported model"):
        open_runtime(tmp_path / f"none{source.suffix}", "cpu", runtime)


def test_a_foreign_onnx_file_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    graph.output[0].name = "y"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="was not exported by segnet"):
        OnnxRuntime(tmp_path / "a.onnx")


def test_other_devices_than_the_cpu_are_refused(exports):
    pytest.importorskip("onnxruntime")
    with pytest.raises(MachineError, match="device 'cuda' cannot be used"):
        OnnxRuntime(exports.get("onnx"), "cuda")


def test_a_missing_package_is_reported_with_the_extra(exports, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MachineError, match=r'pip install "segnet\[openvino\]"'):
        OpenVINORuntime(exports.checkpoint)


def test_a_checkpoint_without_an_export_runs_in_torch(exports, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isinstance(open_runtime(exports.checkpoint), TorchRuntime)
    assert sorted(exports.folder.glob("*.cache.onnx")) == []


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_a_missing_package_is_reported_before_an_export_is(tmp_path, monkeypatch, caplog, package):
    if package == "onnx":
        pytest.importorskip("onnxruntime")
    (tmp_path / "a.ckpt").write_bytes(b"a model that is not loaded")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with caplog.at_level("INFO"), pytest.raises(MachineError, match=rf'{package} .*pip install "segnet\[onnx\]"'):
        open_runtime(tmp_path / "a.ckpt", "cpu", "onnxruntime")
    assert not caplog.records
