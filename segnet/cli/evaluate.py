"""`segnet evaluate`: scores of a checkpoint on a split -> table and results.json."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.errors import ConfigError, ExitCode
from segnet.option_values import calibration_kind
from segnet.published.zoo import find_model
from segnet.verb_config import EvaluateConfig
from segnet.weights.zoo import stands_for_model

if TYPE_CHECKING:
    from segnet.images.little_range import LittleRange
    from segnet.workflows.evaluate import Results

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint; return exit code 0."""
    run("evaluate", EvaluateConfig, _evaluate, arguments)
    return ExitCode.OK


def _evaluate(config: EvaluateConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_scores  # late: a wrong option fails before Lightning is imported

    if "name" not in config.dataset:
        config = on_dataset_of_run(config)
        options = (f"{key}={value}" for key, value in config.dataset.items() if value is not None)
        say(f"dataset of the run: {' '.join(options)}")
    print_scores(evaluated(config, output_dir))
    say(f"results: {output_dir / 'results.json'}")
    if config.per_image:
        say(f"counts of each image: {output_dir / 'per_image.json'}")


def on_dataset_of_run(config: EvaluateConfig) -> EvaluateConfig:
    """Add the dataset of the checkpoint's run; options in `config.dataset` override its own."""
    return replace(config, dataset=dataset_of_checkpoints(config.checkpoint, config.dataset))


def dataset_of_checkpoints(checkpoint: object, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset of the first checkpoint's run; the options in `dataset` override its own.

    Raises:
        ConfigError: it is not that of a local run.
    """
    from segnet.training.run_folder import dataset_of_run

    [first, *_] = named_checkpoints(checkpoint)
    if stands_for_model(first):
        raise ConfigError(f"dataset is not set, and {first} is not a local run: add dataset=...")
    return dataset_of_run(find_model(first), dataset)


def named_checkpoints(checkpoint: object) -> list[str]:
    """The files of the option checkpoint: one, or those of an ensemble.

    Raises:
        ConfigError: none, or something else than text.
    """
    given = list(checkpoint) if isinstance(checkpoint, list | tuple) else [checkpoint]
    named = [os.fspath(one) for one in given if isinstance(one, str | os.PathLike)]
    if not named or len(named) < len(given):
        raise ConfigError(f"checkpoint={checkpoint}: name a file, or several as checkpoint=[a.ckpt,b.ckpt]")
    return named


def evaluated(config: EvaluateConfig, output_dir: Path) -> "Results":
    """Evaluate one or several checkpoints and write results.json; the dataset defaults to that of the first one's run.

    Raises:
        ConfigError: a launcher started several processes, or options that exclude each other.
        SegnetError: see `segnet.workflows.evaluate.evaluate`.
    """
    from segnet.workflows.calibrate import store_fitted_temperature
    from segnet.workflows.messages import never_predicted
    from segnet.workflows.per_image import PER_IMAGE

    no_counts = "per_image and refuse cannot be combined: segnet compare needs all pixels of each image"
    if config.per_image and config.refuse:
        raise ConfigError(no_counts)
    kind = calibration_of(config)
    results = scored(config, kind)
    results.write(output_dir / "results.json")
    store_fitted_temperature(results, kind)
    if config.per_image:
        if results.refused:  # every class has a threshold
            raise ConfigError(no_counts)
        results.write_images(output_dir / PER_IMAGE)
    if warning := never_predicted(results):
        log.warning(warning)
    return results


def calibration_of(config: EvaluateConfig) -> str | None:
    """The kind of temperature to fit and store; None: none.

    Raises:
        ConfigError: an unknown kind, the train split, several checkpoints or a published model.
    """
    kind = calibration_kind(config.calibrate)
    if kind is None:
        return None
    if config.split == "train":
        raise ConfigError(
            "calibrate: the model is too sure of the images that it was trained on: use split=val, or split=test"
        )
    named = named_checkpoints(config.checkpoint)
    if len(named) > 1:
        raise ConfigError(f"calibrate={kind} stores a temperature in one checkpoint: name one of the {len(named)}")
    if stands_for_model(named[0]):
        raise ConfigError(
            f"calibrate={kind} changes the checkpoint, and {named[0]} is a published model: calibrate a copy of "
            f"{find_model(named[0])}"
        )
    return kind


def scored(
    config: EvaluateConfig, calibrate: str | None = None, little_range: "LittleRange | None" = None
) -> "Results":
    """Evaluate a checkpoint and write nothing; otherwise as `evaluated`.

    Args:
        calibrate: kind of temperature to fit; None: none.
        little_range: shared by several evaluations, so that it warns once; None: a new one.
    """
    from segnet.images.little_range import LittleRange
    from segnet.inference.refinement import Refinement
    from segnet.inference.tta import Inference
    from segnet.workflows.evaluate import evaluate

    require_no_launcher("evaluate")
    if "name" not in config.dataset:
        config = on_dataset_of_run(config)
    refinement = Refinement.read(threshold=config.threshold, refuse=config.refuse, min_area=config.min_area)
    inference = Inference(flip=config.flip, scales=config.scales, window=config.window, overlap=config.overlap)
    return evaluate(
        [find_model(checkpoint) for checkpoint in named_checkpoints(config.checkpoint)],
        dataset=config.dataset,
        split=config.split,
        data=config.data,
        trainer={
            name: value for name, value in config.trainer.items() if name != "max_epochs"
        },  # set by dataset=shapes
        inference=inference,
        boundary=config.boundary,
        refinement=refinement,
        calibrate=calibrate,
        little_range=little_range or LittleRange(None),
    )


def require_no_launcher(verb: str) -> None:
    """Check that no launcher started several processes: each of them would evaluate all images.

    Raises:
        ConfigError: torchrun or SLURM did.
    """
    from segnet.training.distributed import detect_launcher

    launcher, count = detect_launcher()
    if count > 1:
        raise ConfigError(f"{launcher} started {count} processes, but {verb} runs in one: start a single process")
