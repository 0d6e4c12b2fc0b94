"""Complete component specs, as config.yaml and checkpoints store them.

A stored spec contains every option. A class may therefore change its defaults without changing old checkpoints.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from segnet.components import complete
from segnet.config import Config
from segnet.data.augment.presets import with_augment_file
from segnet.losses import LOSSES
from segnet.losses.distillation import DISTILLATIONS
from segnet.models.auxiliary import AUXILIARY_HEADS
from segnet.models.backbones import BACKBONES
from segnet.models.backbones.resnet.plugins import complete_plugins
from segnet.models.decoders import DECODERS
from segnet.training.optim import complete_optim
from segnet.verb_config import BenchmarkConfig

C = TypeVar("C", Config, BenchmarkConfig)

DISTILLATION = "cwd"  # if only a teacher is set
TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "backbone": BACKBONES,
    "decoder": DECODERS,
    "loss": LOSSES,
    "auxiliary_head": AUXILIARY_HEADS,
    "distillation": DISTILLATIONS,
}


def complete_specs(config: C) -> C:
    """Return a configuration with every option of each component filled in.

    `output_stride` and `norm` are passed to each component that takes them, unless its spec sets them. An optimizer
    with a learning rate set by hand gets its plain values; otherwise they are chosen later (`segnet.training.plan`).
    The file of data.augment is read.

    Raises:
        DataError: that file cannot be read.
    """
    shared = {"output_stride": config.output_stride, "norm": config.norm}
    given = {name: getattr(config, name, None) for name in TABLES}
    if isinstance(config, Config) and config.teacher is not None:
        given["distillation"] = {"name": DISTILLATION, **(config.distillation or {})}
    specs: dict[str, Any] = {name: complete(TABLES[name], spec, **shared) for name, spec in given.items() if spec}
    if isinstance(plugins := specs.get("backbone", {}).get("plugins"), list):
        specs["backbone"]["plugins"] = complete_plugins(plugins)
    if config.optim.lr is not None:
        specs["optim"] = complete_optim(config.optim)
    if isinstance(config, Config):
        specs["data"] = with_augment_file(config.data)
    return replace(config, **specs)
