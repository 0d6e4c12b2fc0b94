import pytest
import torch
from torch import nn

from segnet.errors import ConfigError
from segnet.models.norms import NORMS, InstanceNorm, PooledBatchNorm, PooledSyncBatchNorm, norm_layer, pooled_norm


def features(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1


def standardized(x: torch.Tensor, dims: tuple[int, ...], eps: float) -> torch.Tensor:
    """Reference: subtract the mean, divide by the root of variance plus eps."""
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


@pytest.mark.parametrize("name", ["batch", "sync_batch"])
def test_batch_norms_normalize_over_the_batch_and_track_running_statistics(name):
    x = features(3, 4, 5, 6)
    norm = norm_layer({"name": name, "eps": 0.1, "momentum": 0.25})(4)
    torch.testing.assert_close(norm(x), standardized(x, (0, 2, 3), 0.1))
    torch.testing.assert_close(norm.running_mean, 0.25 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * x.var((0, 2, 3)))


def test_instance_norm_normalizes_per_image_and_channel():
    x = features(3, 4, 5, 6)
    norm = norm_layer({"name": "instance", "eps": 0.1})(4)
    nn.init.constant_(norm.weight, 2)
    nn.init.constant_(norm.bias, 7)
    expected = 2 * standardized(x, (2, 3), 0.1) + 7
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm.eval()(x), expected)


def test_layer_norm_normalizes_per_image_over_all_channels():
    x = features(3, 4, 5, 6)
    torch.testing.assert_close(norm_layer({"name": "layer", "eps": 0.1})(4)(x), standardized(x, (1, 2, 3), 0.1))


def test_group_norm_normalizes_per_image_over_neighboring_channels():
    x = features(3, 6, 5, 4)
    expected = torch.cat([standardized(part, (1, 2, 3), 0.1) for part in x.split(3, dim=1)], dim=1)
    torch.testing.assert_close(norm_layer({"name": "group", "groups": 2, "eps": 0.1})(6)(x), expected)


@pytest.mark.parametrize(
    ("channels", "groups", "expected"),
    [(64, 32, 32), (256, 32, 32), (48, 32, 16), (32, 32, 16), (24, 32, 8), (12, 4, 4), (8, 8, 4), (7, 32, 1), (7, 7, 1),
     (9, 9, 3), (2, 32, 1), (6, 4, 2)],
)  # fmt: skip
def test_groups_divide_the_channels_and_have_two_or_more(channels, groups, expected):
    assert norm_layer({"name": "group", "groups": groups})(channels).num_groups == expected


@pytest.mark.parametrize("name", ["group", "layer"])
@pytest.mark.parametrize("channels", [2, 3, 8, 32, 64])
def test_group_and_layer_norm_train_on_one_pixel_of_one_image(name, channels):
    assert norm_layer({"name": name})(channels).train()(features(1, channels, 1, 1)).isfinite().all()


def test_instance_norm_of_one_pixel_is_the_bias_in_evaluation_and_refused_in_training():
    norm = InstanceNorm(4, affine=True)
    nn.init.normal_(norm.bias)
    out = norm.eval()(features(2, 4, 1, 1))
    torch.testing.assert_close(out, norm.bias.view(1, 4, 1, 1).expand(2, 4, 1, 1), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm.train()(features(2, 4, 1, 1))


def test_the_default_norm_is_batch_norm_with_torch_s_defaults():
    norm = norm_layer(None)(4)
    assert type(norm) is nn.BatchNorm2d
    assert (norm.eps, norm.momentum, norm.affine, norm.track_running_stats) == (1e-5, 0.1, True, True)


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_starts_as_the_identity_with_eps_1e_5(name):
    norm = norm_layer({"name": name})(4)
    assert norm.eps == 1e-5
    assert torch.equal(norm.weight, torch.ones(4))
    assert torch.equal(norm.bias, torch.zeros(4))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "bacth"}, "norm.name=bacth is unknown. Did you mean 'batch'?"),
        ({}, "norm.name=None"),
        ({"name": "batch", "groups": 4}, "norm.groups is not an option of norm 'batch'"),
        ({"name": "group", "momentum": 0.1}, "norm.momentum is not an option of norm 'group'"),
        ({"name": "batch", "eps": 0}, "norm.eps=0"),
        ({"name": "layer", "eps": -1.0}, "norm.eps=-1.0"),
        ({"name": "instance", "eps": float("nan")}, "norm.eps=nan"),
        ({"name": "batch", "momentum": 0.0}, "norm.momentum=0.0"),
        ({"name": "sync_batch", "momentum": 1.5}, "norm.momentum=1.5"),
        ({"name": "group", "groups": 0}, "norm.groups=0"),
        ({"name": "group", "groups": 1.5}, "norm.groups=1.5 has the wrong type"),
        ("group", "norm=group is not a spec: write norm.name=group"),
    ],
)
def test_impossible_norm_specs_are_a_one_line_error(spec, words):
    with pytest.raises(ConfigError) as error:
        norm_layer(spec)(4)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["group", "layer"])
def test_groups_of_a_single_channel_are_refused(name):
    with pytest.raises(ConfigError, match="1 channel"):
        norm_layer({"name": name})(1)


def filled_norm(kind: type[nn.BatchNorm2d | nn.SyncBatchNorm]) -> nn.Module:
    torch.manual_seed(1)
    norm = kind(5)
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


@pytest.mark.parametrize("kind", [PooledBatchNorm, PooledSyncBatchNorm])
def test_pooled_batch_norm_normalizes_one_image_with_unchanged_running_statistics(kind):
    norm = filled_norm(kind)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    x = torch.randn(1, 5, 1, 1, requires_grad=True)
    out = norm(x)
    torch.testing.assert_close(out.flatten(), (x.flatten() - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias)
    out.square().sum().backward()
    assert x.grad.abs().min() > 0
    assert norm.weight.grad.abs().min() > 0
    assert norm.bias.grad.abs().min() > 0
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, var)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("kind", [PooledBatchNorm, PooledSyncBatchNorm])
@pytest.mark.parametrize(("batch_size", "training"), [(2, True), (3, True), (1, False), (2, False)])
def test_pooled_batch_norm_equals_batch_norm_otherwise(batch_size, training, kind):
    ours, plain = filled_norm(kind).train(training), filled_norm(nn.BatchNorm2d).train(training)
    x = torch.randn(batch_size, 5, 1, 1)
    assert torch.equal(ours(x), plain(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("batch", PooledBatchNorm),
        ("sync_batch", PooledSyncBatchNorm),
        ("group", nn.GroupNorm),
        ("layer", nn.GroupNorm),
        ("instance", nn.GroupNorm),
    ],
)
def test_pooled_norms_keep_the_options_and_train_on_one_image(name, kind):
    options = {"eps": 0.01, **({"momentum": 0.3} if "batch" in name else {})}
    norm = pooled_norm(norm_layer({"name": name, **options})(8), 8)
    assert type(norm) is kind
    assert {option: getattr(norm, option) for option in options} == options
    assert norm.train()(features(1, 8, 1, 1)).isfinite().all()
    if name == "instance":
        assert norm.num_groups == 1
