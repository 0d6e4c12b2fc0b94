"""The plan of a run: decides the options that were left at null, so that they follow the data, the weights, the device.

What was set by hand stays. The decided configuration is the run's config.yaml; chosen.yaml beside it lists what was
chosen, so that `checkpoint=auto` finds the run again and a resumed run keeps the same values.

Where the numbers come from: SGD as PaddleSeg and mmsegmentation train DeepLabV3+ from pretrained weights; AdamW, the
warm-up and the EMA as conf/experiment/camvid_* found them from random weights. In those three recipes the EMA averages
over a tenth of the steps: 0.99 for 1,080, 0.999 for 9,000, 0.9995 for 22,000.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from segnet.config import Config, OptimConfig, known
from segnet.data.scan.crop_fill import fitting_crop
from segnet.training.optim import PLAIN_OPTIM, check_optim, complete_optim

BATCH_SIZE = 8
LARGEST_CROP = {"cpu": 320}  # by device [pixels]; a CPU needs more steps rather than larger crops
LARGEST_CROP_OF_GPU = 512
# Epochs, fewest and most steps, by whether the backbone is pretrained.
LENGTHS = {True: (50, 2_000, 40_000), False: (100, 4_000, 80_000)}
FEW_STEPS = 500  # below it, a length that was set by hand is warned about
VALIDATIONS = (5, 20)  # fewest and most in a run
VALIDATION_SHARE = 0.15  # of the computation of a run, from which fewer validations are planned
WARMUP_SHARE, MOST_WARMUP = 0.04, 500
EMA_SHARE = 0.1  # of the run over which the EMA averages
LENGTH_OPTIONS = ("max_epochs", "max_steps")  # of the trainer: either is a length set by hand
PLANNED = {
    *("data.batch_size", "data.crop_size", "ema.decay"),
    *(f"optim.{name}" for name in ("name", "lr", "batch_size", "weight_decay", "norm_decay", "schedule")),
    *("optim.warmup_steps", "trainer.max_epochs", "trainer.max_steps", "trainer.val_check_interval"),
}
# What null stands for beside a learning rate set by hand.
BY_HAND = {
    "optim.name": "sgd",
    **{f"optim.{name}": value for name, value in PLAIN_OPTIM["sgd"].items() if name != "lr"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan follows.

    Attributes:
        num_train, num_val: images of the splits.
        sizes: (height, width) -> number of train images, of all or of a sample; empty: unknown.
        pretrained: whether the run starts from weights.
        device: its type, such as "cpu" or "cuda".
        num_processes: of the run.
        accumulated: batches whose gradients a step sums up.
    """

    num_train: int
    num_val: int
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    pretrained: bool
    device: str = "cpu"
    num_processes: int = 1
    accumulated: int = 1


def needs_sizes(config: Config) -> bool:
    """Whether an option is null that follows the sizes of the train images."""
    return config.data.crop_size is None or not has_length(config)


def has_length(config: Config) -> bool:
    """Whether the length of the run was set by hand."""
    return any(config.trainer.get(name) is not None for name in LENGTH_OPTIONS)


def planned(config: Config, facts: Facts) -> Config:
    """Return the configuration without nulls among the options in `PLANNED`.

    Raises:
        ConfigError: an impossible option of the optimizer.
    """
    check_optim(config.optim)
    data = config.data
    if data.batch_size is None:
        data = replace(data, batch_size=max(1, min(BATCH_SIZE, facts.num_train // facts.num_processes)))
    if data.crop_size is None:
        largest = LARGEST_CROP.get(facts.device, LARGEST_CROP_OF_GPU)
        data = replace(data, crop_size=fitting_crop(facts.sizes, largest))
    config = replace(config, data=data)
    if not has_length(config):
        config = replace(config, trainer={**config.trainer, **_length(config, facts)})
    return _with_recipe(config, facts)


def _length(config: Config, facts: Facts) -> dict[str, Any]:
    """The number of steps, and how often they are validated."""
    epochs, fewest, most = LENGTHS[facts.pretrained]
    steps = min(most, max(fewest, epochs * steps_per_epoch(config, facts)))
    if {"val_check_interval", "check_val_every_n_epoch"} & config.trainer.keys():
        return {"max_steps": steps}
    interval = max(1, steps // num_validations(config, facts, steps))
    return {"max_steps": steps, "val_check_interval": interval * facts.accumulated}


def num_validations(config: Config, facts: Facts, steps: int) -> int:
    """How often a run of some steps is validated, so that it costs at most `VALIDATION_SHARE` of the computation."""
    fewest, most = VALIDATIONS
    images = steps * known(config.data.batch_size) * facts.num_processes * facts.accumulated
    trained = 3 * images * math.prod(known(config.data.crop_size))  # a step costs about three predictions
    area = sum(math.prod(size) * number for size, number in facts.sizes.items()) / max(1, sum(facts.sizes.values()))
    validated = facts.num_val * (area or math.prod(known(config.data.crop_size)))
    return max(fewest, min(most, int(VALIDATION_SHARE * trained / max(1.0, validated))))


def steps_per_epoch(config: Config, facts: Facts) -> int:
    """Optimizer steps of an epoch, at least 1."""
    batches = facts.num_train // (known(config.data.batch_size) * facts.num_processes)
    return max(1, math.ceil(batches / facts.accumulated))


def num_steps(config: Config, facts: Facts) -> int:
    """Optimizer steps of a configuration with a length; 0: it has no end."""
    steps, epochs = (config.trainer.get(name) for name in reversed(LENGTH_OPTIONS))
    if isinstance(steps, int) and steps > 0:
        return steps
    return epochs * steps_per_epoch(config, facts) if isinstance(epochs, int) and epochs > 0 else 0


def _with_recipe(config: Config, facts: Facts) -> Config:
    """Decide optimizer, learning rate, warm-up and EMA. A learning rate set by hand brings none of the last two."""
    optim, steps = config.optim, num_steps(config, facts)
    follows = optim.lr is None
    if optim.name is None and follows:
        optim = replace(optim, name="sgd" if facts.pretrained else "adamw")
    if follows:
        images = known(config.data.batch_size) * facts.num_processes * facts.accumulated
        optim = replace(optim, batch_size=optim.batch_size or images)
        optim = replace(optim, lr=learning_rate(known(complete_optim(optim).name), known(optim.batch_size)))
    if follows and optim.warmup_steps is None:
        optim = replace(optim, warmup_steps=min(MOST_WARMUP, int(WARMUP_SHARE * steps)))
    ema = config.ema
    if follows and ema.decay is None:
        ema = replace(ema, decay=ema_decay(steps))
    return replace(config, optim=complete_optim(optim), ema=ema)


def learning_rate(name: str, images: int) -> float:
    """Peak learning rate of an optimizer for a step of some images.

    From that for `BATCH_SIZE` images, linear with sgd (arXiv 1706.02677) and by the square root with adamw.
    """
    factor = images / BATCH_SIZE
    rate = PLAIN_OPTIM[name]["lr"] * (factor if name == "sgd" else math.sqrt(factor))
    return float(f"{rate:.3g}")


def ema_decay(steps: int) -> float:
    """Decay of an EMA that averages over `EMA_SHARE` of the steps; 0, none, for a run too short to average over."""
    window = EMA_SHARE * steps
    return float(f"{1 - 1 / window:.5g}") if window > 2 else 0.0


def filled(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with nulls among `PLANNED` replaced by stored values.

    Args:
        values: option -> value, such as {"optim.lr": 0.01}; others than those in `PLANNED` do not count.
    """
    sections = {name: asdict(getattr(config, name)) for name in ("data", "optim", "ema")}
    trainer = dict(config.trainer)
    for option in PLANNED & values.keys():
        section, _, name = option.partition(".")
        if section == "trainer" and not has_length(config):
            trainer.setdefault(name, values[option])
        elif section != "trainer" and sections[section][name] is None:
            sections[section][name] = values[option]
    return replace(
        config,
        data=replace(config.data, **sections["data"]),
        optim=OptimConfig(**sections["optim"]),
        ema=replace(config.ema, **sections["ema"]),
        trainer=trainer,
    )


def chosen(before: Config, after: Config) -> dict[str, Any]:
    """The options in `PLANNED` that were null before and are not after: option -> value.

    What null always stands for beside a learning rate set by hand is not listed.
    """
    found = {option: value_of(after, option) for option in sorted(PLANNED) if value_of(before, option) is None}
    always = BY_HAND if before.optim.lr is not None else {}
    return {option: value for option, value in found.items() if value is not None and value != always.get(option)}


def value_of(config: Config, option: str) -> Any:
    """The value of an option in `PLANNED`; None: null or absent."""
    section, _, name = option.partition(".")
    return config.trainer.get(name) if section == "trainer" else getattr(getattr(config, section), name)
