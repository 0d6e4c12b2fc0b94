import pytest
import torch
from tiny import components

from segnet.errors import ConfigError
from segnet.models.segmentation_model import SegmentationModel

NUM_CLASSES = 3


def small_model(output_stride: int = 16, seed: int = 0, **options) -> SegmentationModel:
    torch.manual_seed(seed)
    return SegmentationModel(
        **{
            **components(output_stride),
            "num_classes": NUM_CLASSES,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            **options,
        }
    )


def images(batch_size: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (15, 17), (33, 97), (64, 64)])
def test_logits_have_the_size_of_the_images(size, output_stride):
    with torch.inference_mode():
        logits = small_model(output_stride).eval()(images(2, *size))
    assert logits.shape == (2, NUM_CLASSES, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@torch.inference_mode()
def test_uint8_and_float_images_give_the_same_logits():
    model = small_model().eval()
    assert torch.equal(model(images(2, 33, 47)), model(images(2, 33, 47).float()))


@torch.inference_mode()
def test_images_of_a_batch_are_independent_in_evaluation():
    model = small_model().eval()
    batch = images(2, 33, 47)
    torch.testing.assert_close(model(batch)[1:], model(batch[1:]), rtol=1e-4, atol=1e-5)


def test_images_are_normalized_before_the_backbone():
    model = small_model().eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = torch.tensor([[0, 255], [51, 128], [255, 7]], dtype=torch.uint8).view(1, 3, 1, 2)
    model(batch)
    expected = torch.tensor(
        [
            [(0.0 - 0.485) / 0.229, (1.0 - 0.485) / 0.229],
            [(0.2 - 0.456) / 0.224, (128 / 255 - 0.456) / 0.224],
            [(1.0 - 0.406) / 0.225, (7 / 255 - 0.406) / 0.225],
        ]
    )
    torch.testing.assert_close(seen[0], expected.view(1, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_mean_and_std_are_not_in_the_state_dict():
    model = small_model()
    assert {"normalize.mean", "normalize.std"} <= dict(model.named_buffers()).keys()
    assert not any("mean" in name.split(".") or "std" in name.split(".") for name in model.state_dict())
    other = small_model(seed=1, mean=[0.5] * 3)
    other.load_state_dict(model.state_dict())
    assert other.normalize.mean.flatten().tolist() == [127.5] * 3


@pytest.mark.parametrize("size", [(65, 65), (16, 17)])
def test_a_batch_of_one_image_trains(size):
    model = small_model().train()
    model(images(1, *size)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    assert all(
        p.grad.count_nonzero() > 0 for p in (model.backbone.stem[0].conv.weight, model.decoder.classifier.weight)
    )


@pytest.mark.parametrize(
    ("output_stride", "batch_size", "size", "refused"),
    [
        (16, 1, (16, 16), True),
        (16, 1, (1, 1), True),
        (8, 1, (8, 8), True),
        (32, 1, (32, 32), True),
        (32, 1, (32, 16), True),
        (16, 1, (1, 17), False),
        (8, 1, (9, 8), False),
        (16, 2, (16, 16), False),
        (16, 2, (1, 1), False),
    ],
)
def test_a_training_batch_with_one_value_per_channel_is_refused(output_stride, batch_size, size, refused):
    model = small_model(output_stride).train()
    if refused:
        with pytest.raises(ConfigError, match=rf"{size[0]} x {size[1]}.*above {output_stride}"):
            model(images(batch_size, *size))
        assert model.eval()(images(batch_size, *size)).shape[2:] == size
    else:
        assert model(images(batch_size, *size)).isfinite().all()


def test_sync_batch_norm_accepts_a_small_single_image_in_several_processes():
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(small_model())
    model.check_training_batch(1, 16, 16)


def test_the_seed_determines_the_initial_weights():
    first, same, other = (small_model(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["backbone.stem.0.conv.weight"], other["backbone.stem.0.conv.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": [0.5, 0.5]}, "mean=[0.5, 0.5]"),
        ({"std": [0.5] * 4}, "std=[0.5, 0.5, 0.5, 0.5]"),
        ({"std": [0.5, 0.0, 0.5]}, "std=[0.5, 0.0, 0.5]"),
        ({"std": [0.5, 0.5, -1]}, "std=[0.5, 0.5, -1]"),
        ({"std": [float("nan"), 0.5, 0.5]}, "std=[nan, 0.5, 0.5]"),
        ({"std": [float("inf"), 0.5, 0.5]}, "std=[inf, 0.5, 0.5]"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean=[0.5, 0.5, nan]"),
        ({"backbone": {"name": "resnext"}}, "backbone.name=resnext"),
        ({"backbone": {"name": "resnet", "depths": [1, 1, 1, 1], "output_stride": 8}}, "ends at stride 8"),
        ({"decoder": {"name": "deeplabv3plus"}}, "decoder.output_stride is not set"),
        ({"decoder": {"name": "deeplabv3plus", "output_stride": 16, "num_classes": 4}}, "decoder.num_classes"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ConfigError) as error:
        small_model(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(("size", "reached"), [((64, 64), (1, 1)), ((112, 96), (3, 1)), ((113, 97), (3, 3))])
def test_taps_outside_every_crop_are_zero(size, reached):
    model = small_model(16)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    model.zero_unreached_taps(*size)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, plain[name])}
    assert changed == {f"decoder.aspp.branches.{index}.depthwise.conv.weight" for index in (1, 2, 3)} - (
        {"decoder.aspp.branches.1.depthwise.conv.weight"} if reached == (3, 3) else set()
    )
    weight = model.decoder.aspp.branches[1].depthwise.conv.weight  # the branch of rate 6
    assert weight[0, 0].any(dim=1).sum() == reached[0]
    assert weight[0, 0].any(dim=0).sum() == reached[1]


def test_zeroed_taps_do_not_affect_crops_and_get_no_gradient():
    height, width = 80, 150
    model = small_model(16).eval()  # without dropout
    x = images(2, height, width)
    expected = model(x)
    model.zero_unreached_taps(height, width)
    logits = model(x)
    torch.testing.assert_close(logits, expected)
    logits.square().sum().backward()
    for branch in list(model.decoder.aspp.branches)[1:4]:
        weight = branch.depthwise.conv.weight
        assert torch.equal(weight.grad.abs().sum(dim=0) > 0, weight.abs().sum(dim=0) > 0)  # nonzero taps get gradients
