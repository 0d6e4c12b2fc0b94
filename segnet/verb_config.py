"""The options of the verbs besides train: dataclasses like those of a training in `segnet.config`."""

from dataclasses import dataclass, field
from typing import Any

from segnet.config import (
    Config,
    DataConfig,
    LoaderConfig,
    OptimConfig,
    ValidationConfig,
    default_backbone,
    default_decoder,
    default_loss,
    default_norm,
)


@dataclass(slots=True, kw_only=True)
class EvaluateConfig(ValidationConfig):
    """Measure the mIoU of a checkpoint on a dataset, one image at a time, in float32."""

    checkpoint: Any = "???"
    """Checkpoint (.ckpt) to evaluate, or the name of a published model; a list averages their probabilities."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options; without one, the dataset of the checkpoint's run."""
    split: str = "val"
    """Split to evaluate: train, val or test."""
    boundary: float | None = None
    """Boundary IoU and trimap mIoU with this width, such as 0.02 of the image diagonal; null: neither."""
    threshold: Any = None
    """Probability from which a pixel gets a class, such as disk=0.3,ring=0.6; null: the most probable class."""
    refuse: float = 0.0
    """Leave pixels whose largest probability is below out of all scores, and report their fraction, 0-1."""
    min_area: Any = 0
    """Smallest region, such as 50 or 50,disk=10; smaller ones get the class of their surroundings [pixels]."""
    calibrate: str | None = None
    """Fit the temperature of the probabilities to val or test, and store it in the checkpoint: global or class."""
    per_image: bool = False
    """Write the pixel counts of each image to per_image.json, for segnet compare."""
    data: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of Lightning's Trainer, such as trainer.accelerator=cpu."""


@dataclass(slots=True, kw_only=True)
class CompareConfig(ValidationConfig):
    """Compare checkpoints on the same images: which differences of IoU are more than noise?"""

    first: list[str] = field(default_factory=list)
    """Checkpoints, run folders or evaluations with per_image.json: one recipe, each trained with another seed."""
    second: list[str] = field(default_factory=list)
    """The same for the other recipe; a positive difference means that it is better."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options; without one, that of the first checkpoint's run."""
    split: str = "val"
    """Split to evaluate checkpoints on: train, val or test."""
    block: int | None = None
    """Neighboring images drawn together, as frames of a video; null: chosen from their correlation; 1: each alone."""
    draws: int = 10_000
    """Draws of the bootstrap."""
    seed: int = 0
    """Seed of the draws."""
    data: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of Lightning's Trainer, such as trainer.accelerator=cpu."""


@dataclass(slots=True, kw_only=True)
class CrossvalConfig(Config):
    """Cross-validation: train a model a fold, each without the fold's images, and predict these. All options of train
    are accepted."""

    folds: int = 5
    """Number of folds; each image is held out once."""
    splits: list[str] = field(default_factory=lambda: ["train"])
    """Splits whose images are divided into folds: train, or train and val."""
    group: str | None = None
    """Regular expression; images with the same matched text in their paths are in one fold; null: dataset.group."""
    calibrate: str | None = None
    """Temperature of each fold's probabilities, fitted to its held-out images: global, class; null: none."""
    save_probabilities: bool = False
    """Store the probabilities of all classes of each held-out image, 8 bits each, besides its mask."""


@dataclass(slots=True, kw_only=True)
class DoubtConfig(ValidationConfig):
    """Rank images by doubt about their labels, with predictions of models that were not trained on them."""

    crossval: str | None = None
    """Folder of segnet crossval: each image is judged by the model that was not trained on it."""
    checkpoint: Any = None
    """Instead of crossval: checkpoint that was not trained on the split; a list averages their probabilities."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options; without one, the dataset of the checkpoint's run."""
    split: str = "val"
    """Split to judge with a checkpoint: val or test."""
    device: str | None = None
    """Device: cpu, cuda, cuda:1 or mps; null: a GPU if there is one."""
    num_images: int = 40
    """Images with the highest doubt on the page; doubt.json has all."""


@dataclass(slots=True, kw_only=True)
class AverageConfig:
    """Average the weights of several checkpoints of one model, and re-estimate the statistics of its batch norms."""

    checkpoint: Any = "???"
    """Checkpoints (.ckpt) to average, as a list: of one run, or of runs from the same pretrained weights."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options; without one, the dataset of the first checkpoint's run."""
    split: str = "val"
    """Split on which the average and each checkpoint are evaluated: train, val or test."""
    num_images: int = 1_000
    """Augmented train images that the statistics are estimated from; at most those of one epoch."""
    data: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of Lightning's Trainer, such as trainer.accelerator=cpu."""


@dataclass(slots=True, kw_only=True)
class RankConfig(ValidationConfig):
    """Rank unlabeled images: those to label next, by the uncertainty of a checkpoint and by diversity."""

    images: list[str] = field(default_factory=list)
    """Images to rank: folders with their subfolders, globs, image files, or @list.txt with a file a line."""
    root: str | None = None
    """Folder that contains the files of a list; null: the folder of the list."""
    checkpoint: Any = "???"
    """Checkpoint (.ckpt), or the name of a published model; a list averages their probabilities."""
    number: int = 20
    """Number of images to label next; the others are ranked behind them."""
    method: str = "diversity"
    """Method: diversity; entropy, margin or bald, each alone or with diversity (bald+diversity); or random."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Labeled images, not ranked again: a choice such as folder, and its options; default: the checkpoint's run."""
    splits: list[str] = field(default_factory=lambda: ["train", "val"])
    """Splits of the labeled images; [] ranks all images as if none was labeled."""
    device: str | None = None
    """Device: cpu, cuda, cuda:1 or mps; null: a GPU if there is one."""
    batch_size: int = 1
    """Images of equal size, or windows of a large image, that are predicted together."""
    num_images: int = 40
    """Images on the page at most; rank.json has all."""
    seed: int = 0
    """Seed of method=random."""


@dataclass(slots=True, kw_only=True)
class ShardConfig:
    """Pack a dataset into tar files (WebDataset shards) for streaming."""

    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset to pack: a choice such as folder, and its options."""
    splits: list[str] = field(default_factory=lambda: ["train", "val"])
    """Splits to pack: any of train, val and test."""
    output: str = "???"
    """Folder to write; it must not exist yet."""
    images_per_shard: int = 500
    """Images in each tar file; the last one of a split may have fewer."""


@dataclass(slots=True, kw_only=True)
class InspectConfig:
    """Find problems in a dataset. All options of train are accepted, and these are used."""

    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options."""
    splits: list[str] = field(default_factory=lambda: ["train", "val"])
    """Splits to inspect: any of train, val and test."""
    num_images: int = 8
    """Rows of the contact sheet with each image before and after augmentation; 0: no sheet."""
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    """Seed of the augmentation in the contact sheet."""


@dataclass(slots=True, kw_only=True)
class BenchmarkConfig:
    """Measure the cost of a model on this machine: parameters, operations, speed and memory."""

    checkpoint: str | None = None
    """Checkpoint or published model to measure instead of the options from backbone to num_classes; null: untrained."""
    backbone: dict[str, Any] = field(default_factory=default_backbone)
    """Backbone: a choice such as resnet50_vd, and its options."""
    decoder: dict[str, Any] = field(default_factory=default_decoder)
    """Decoder: deeplabv3plus, deeplabv3 or upernet, and its options."""
    output_stride: int = 16
    """Output stride of backbone and decoder: 8, 16 or 32."""
    norm: dict[str, Any] = field(default_factory=default_norm)
    """Norm layers of backbone, decoder and auxiliary head: name=batch, sync_batch, group, layer or instance."""
    loss: dict[str, Any] = field(default_factory=default_loss)
    """Loss: a choice such as ohem or ce_dice, and its options."""
    auxiliary_head: dict[str, Any] | None = None
    """Auxiliary head for a second loss during training: fcn, and its options; null: none."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    num_classes: int = 19
    """Number of classes."""
    image_size: list[int] = field(default_factory=lambda: [512, 512])
    """[height, width] of the images [pixels]."""
    batch_size: int = 4
    """Images in a batch, in training and prediction."""
    device: str | None = None
    """Device: cpu, cuda, cuda:1 or mps; null: a GPU if there is one."""
    precision: str = "float32"
    """Precision of prediction, and of training with autocast: float32, bf16 or fp16."""
    runtime: str | None = None
    """Runtime of prediction: torch, onnxruntime or openvino; null: chosen as predict does."""
    compile: bool = False
    """Compile the training step with torch.compile."""
    seconds: float = 10.0
    """Duration of each measurement; at least one batch [seconds]."""
