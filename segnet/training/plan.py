"""Plan of a run: choose values for options left at null, from the data, the weights and the device.

Options set by hand are kept. config.yaml stores the resolved configuration, and chosen.yaml next to it the chosen
options. `checkpoint=auto` therefore finds the run again, and a resumed run keeps its values.

Sources of the numbers: PaddleSeg and mmsegmentation use SGD for DeepLabV3+ from pretrained weights. AdamW, warm-up and
EMA for random weights come from conf/experiment/camvid_*. In these three recipes the EMA averages over a tenth of the
steps: 0.99 for 1,080, 0.999 for 9,000, 0.9995 for 22,000.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from segnet.config import Config, OptimConfig, known
from segnet.data.augment.presets import NO_PRESET, complete_augment
from segnet.data.scan.crop_fill import fitting_crop
from segnet.training.optim import PLAIN_OPTIM, check_optim, complete_optim

BATCH_SIZE = 8
LARGEST_CROP = {"cpu": 320}  # per device [pixels]; a CPU benefits more from steps than from larger crops
LARGEST_CROP_OF_GPU = 512
# Whether the backbone is pretrained -> epochs, minimum and maximum number of steps.
LENGTHS = {True: (50, 2_000, 40_000), False: (100, 4_000, 80_000)}
FEW_STEPS = 500  # a length set by hand below this number logs a warning
VALIDATIONS = (5, 20)  # minimum and maximum number of validations
VALIDATION_FRACTION = 0.15  # largest fraction of a run's computation spent on validations
WARMUP_FRACTION, MOST_WARMUP = 0.1, 500
EMA_FRACTION = 0.1  # fraction of the run over which the EMA averages
FEWEST_FOR_EMA = 200  # in shorter runs, averaged weights lag behind [steps]
LENGTH_OPTIONS = ("max_epochs", "max_steps")  # options of the trainer that set the length by hand
PLANNED = {
    *("data.batch_size", "data.crop_size", "data.scale_range", "data.flip", "data.color_jitter", "ema.decay"),
    *(f"optim.{name}" for name in ("name", "lr", "batch_size", "weight_decay", "norm_decay", "schedule")),
    *("optim.warmup_steps", "trainer.max_epochs", "trainer.max_steps", "trainer.val_check_interval"),
}
# Values of null options if the learning rate is set by hand.
BY_HAND = {
    "optim.name": "sgd",
    **{f"optim.{name}": value for name, value in PLAIN_OPTIM["sgd"].items() if name != "lr"},
}
# Values of null options without data.augment.
WITHOUT_AUGMENT = {
    "data.scale_range": list(NO_PRESET.scale_range),
    "data.flip": NO_PRESET.flip,
    "data.color_jitter": NO_PRESET.color_jitter,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts that determine a plan.

    Attributes:
        num_train, num_val: number of images per split.
        sizes: (height, width) -> number of train images, of all or of a sample; empty: unknown.
        pretrained: whether the run starts from pretrained weights.
        device: device type, such as "cpu" or "cuda".
        num_processes: world size.
        accumulated: batches per optimizer step.
    """

    num_train: int
    num_val: int
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    pretrained: bool
    device: str = "cpu"
    num_processes: int = 1
    accumulated: int = 1


def needs_sizes(config: Config) -> bool:
    """Return True if a null option depends on the sizes of the train images."""
    return config.data.crop_size is None or not has_length(config)


def has_length(config: Config) -> bool:
    """Return True if the length of the run is set by hand."""
    return any(config.trainer.get(name) is not None for name in LENGTH_OPTIONS)


def planned(config: Config, facts: Facts) -> Config:
    """Return the configuration without nulls among the options in `PLANNED`.

    Raises:
        ConfigError: an impossible option of the optimizer.
    """
    check_optim(config.optim)
    data = complete_augment(config.data)
    if data.batch_size is None:
        data = replace(data, batch_size=max(1, min(BATCH_SIZE, facts.num_train // facts.num_processes)))
    if data.crop_size is None:
        largest = LARGEST_CROP.get(facts.device, LARGEST_CROP_OF_GPU)
        data = replace(data, crop_size=fitting_crop(facts.sizes, largest))
    config = replace(config, data=data)
    if not has_length(config):
        config = replace(config, trainer={**config.trainer, **_length(config, facts)})
    return _with_optimizer(config, facts)


def _length(config: Config, facts: Facts) -> dict[str, Any]:
    """Choose the number of steps and the validation interval."""
    epochs, fewest, most = LENGTHS[facts.pretrained]
    steps = min(most, max(fewest, epochs * steps_per_epoch(config, facts)))
    if {"val_check_interval", "check_val_every_n_epoch"} & config.trainer.keys():
        return {"max_steps": steps}
    interval = max(1, steps // num_validations(config, facts, steps))
    return {"max_steps": steps, "val_check_interval": interval * facts.accumulated}


def num_validations(config: Config, facts: Facts, steps: int) -> int:
    """Return the number of validations of a run; they cost at most `VALIDATION_FRACTION` of the computation."""
    fewest, most = VALIDATIONS
    images = steps * known(config.data.batch_size) * facts.num_processes * facts.accumulated
    trained = 3 * images * math.prod(known(config.data.crop_size))  # a step costs about three predictions
    area = sum(math.prod(size) * number for size, number in facts.sizes.items()) / max(1, sum(facts.sizes.values()))
    validated = facts.num_val * (area or math.prod(known(config.data.crop_size)))
    return max(fewest, min(most, int(VALIDATION_FRACTION * trained / max(1.0, validated))))


def steps_per_epoch(config: Config, facts: Facts) -> int:
    """Return the optimizer steps per epoch, at least 1."""
    batches = facts.num_train // (known(config.data.batch_size) * facts.num_processes)
    return max(1, math.ceil(batches / facts.accumulated))


def num_steps(config: Config, facts: Facts) -> int:
    """Return the optimizer steps of a run with a length; 0 if its length is unlimited."""
    steps, epochs = (config.trainer.get(name) for name in reversed(LENGTH_OPTIONS))
    if isinstance(steps, int) and steps > 0:
        return steps
    return epochs * steps_per_epoch(config, facts) if isinstance(epochs, int) and epochs > 0 else 0


def _with_optimizer(config: Config, facts: Facts) -> Config:
    """Choose optimizer, learning rate, warm-up and EMA; a learning rate set by hand gets no warm-up and no EMA."""
    optim, steps = config.optim, num_steps(config, facts)
    follows = optim.lr is None
    if optim.name is None and follows:
        optim = replace(optim, name="sgd" if facts.pretrained else "adamw")
    if follows:
        images = known(config.data.batch_size) * facts.num_processes * facts.accumulated
        optim = replace(optim, batch_size=optim.batch_size or images)
        optim = replace(optim, lr=learning_rate(known(complete_optim(optim).name), known(optim.batch_size)))
    if follows and optim.warmup_steps is None:
        optim = replace(optim, warmup_steps=min(MOST_WARMUP, int(WARMUP_FRACTION * steps)))
    ema = config.ema
    if follows and ema.decay is None:
        ema = replace(ema, decay=ema_decay(steps))
    return replace(config, optim=complete_optim(optim), ema=ema)


def learning_rate(name: str, images: int) -> float:
    """Return the peak learning rate of an optimizer for an effective batch size.

    It is scaled from the value for `BATCH_SIZE` images: linearly for sgd (arXiv 1706.02677), by the square root for
    adamw.
    """
    factor = images / BATCH_SIZE
    rate = PLAIN_OPTIM[name]["lr"] * (factor if name == "sgd" else math.sqrt(factor))
    return float(f"{rate:.3g}")


def ema_decay(steps: int) -> float:
    """Return the decay of an EMA that averages over `EMA_FRACTION` of the steps; 0 (no EMA) for a very short run."""
    return float(f"{1 - 1 / (EMA_FRACTION * steps):.5g}") if steps >= FEWEST_FOR_EMA else 0.0


def filled(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with nulls among `PLANNED` replaced by stored values.

    Args:
        values: option -> value, such as {"optim.lr": 0.01}; options outside `PLANNED` are ignored.
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
    """Return the options in `PLANNED` that were null before and are not null after: option -> value.

    The fixed values of null options with a learning rate set by hand, or without data.augment, are left out.
    """
    found = {option: value_of(after, option) for option in sorted(PLANNED) if value_of(before, option) is None}
    found |= {f"backbone.{key}": value for key, value in after.backbone.items() if before.backbone.get(key) != value}
    always = {**WITHOUT_AUGMENT, **(BY_HAND if before.optim.lr is not None else {})}
    return {option: value for option, value in found.items() if value is not None and value != always.get(option)}


def value_of(config: Config, option: str) -> Any:
    """Return the value of an option in `PLANNED`; None if null or absent."""
    section, _, name = option.partition(".")
    return config.trainer.get(name) if section == "trainer" else getattr(getattr(config, section), name)
