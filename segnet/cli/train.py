"""`segnet train`: compose -> Config -> train."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from segnet.cli.composition import run
from segnet.cli.tables import print_scores
from segnet.config import Config
from segnet.errors import ExitCode
from segnet.images import replacing


def main(arguments: Sequence[str]) -> int:
    """Trains what the options say; exit code 0 when it ended."""
    run("train", Config, _train, arguments)
    return ExitCode.OK


def _train(config: Config, composed: DictConfig, output_dir: Path) -> None:
    from segnet.training import train  # after composing: a wrong option need not wait for Lightning

    with replacing(output_dir / "config.yaml") as temporary:
        temporary.write_text(OmegaConf.to_yaml(composed, resolve=True), encoding="utf-8")
    print(f"run folder: {output_dir}", flush=True)
    results = train(config, output_dir)
    print_scores(results)
    print(f"best checkpoint: {results.checkpoint}")
    print(f"preview of val images: {output_dir / 'preview.png'}")
