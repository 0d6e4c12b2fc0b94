"""Data of a run: its splits and unlabeled images, and a comparison with those that a checkpoint was trained on."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from segnet.data import build_splits
from segnet.data.dataset import SegmentationDataset
from segnet.data.digest import SplitDigest, changes, split_digest
from segnet.data.fold import base_spec
from segnet.data.unlabeled import OPTION, UnlabeledImages
from segnet.errors import CheckpointError

STATE_KEY = "dataset_digest"  # key in checkpoints
TRAINING_SPLITS = ("train", "val")


class RunData(Callback):
    """Builds the splits of a run once, and stores their digest in each of its checkpoints.

    Args:
        spec: spec of the dataset.
        unlabeled: folders, globs and files of images without masks; None: none.
    """

    def __init__(self, spec: Mapping[str, Any], unlabeled: Sequence[str] | None = None) -> None:
        self._spec, self._sources = spec, unlabeled

    @cached_property
    def splits(self) -> Mapping[str, SegmentationDataset]:
        """Datasets of train and val, with one set of class ids.

        Raises:
            SegnetError: an option or a file cannot be used.
        """
        return build_splits(self._spec, TRAINING_SPLITS)

    @cached_property
    def unlabeled(self) -> UnlabeledImages | None:
        """The images without masks; None without the option.

        Raises:
            SegnetError: an option or a file cannot be used.
        """
        return UnlabeledImages(self._sources, self.splits["train"]) if self._sources else None

    @cached_property
    def _digests(self) -> Mapping[str, SplitDigest]:
        """Digests at the start of the run, so that later changes of files are detected when it resumes."""
        root = base_spec(self._spec).get("root", ())
        roots = [root] if isinstance(root, str) else root
        found = {name: split_digest(self.splits[name], roots) for name in TRAINING_SPLITS}
        return {**found, OPTION: split_digest(self.unlabeled, roots)} if self.unlabeled is not None else found

    def changes_since(self, checkpoint: Mapping[str, Any], source: object) -> str:
        """Describe in one line how the dataset changed since a checkpoint was written; empty without a known change.

        Args:
            checkpoint: the checkpoint's content.
            source: the checkpoint's path, for messages.

        Raises:
            CheckpointError: the checkpoint's digest is damaged.
        """
        stored = checkpoint.get(STATE_KEY)
        if stored is None:  # an older checkpoint
            return ""
        try:  # a run that gets unlabeled images has another configuration, which is reported as such
            both = [name for name in self._digests if name in TRAINING_SPLITS or name in stored]
            before = {name: SplitDigest.from_state(stored[name]) for name in both}
        except (LookupError, TypeError, ValueError):
            raise CheckpointError(
                f"{source}: its digest of the dataset is damaged: start from its weights with init_from={source}"
            ) from None
        found = {name: changes(before[name], self._digests[name]) for name in both}
        return "; ".join(f"{name}: {text}" for name, text in found.items() if text)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            _ = self._digests

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.is_global_zero:
            checkpoint[STATE_KEY] = {name: digest.to_state() for name, digest in self._digests.items()}
