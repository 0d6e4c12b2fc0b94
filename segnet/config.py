"""The configuration of a training run: plain dataclasses, which Hydra fills and `segnet.workflows.train.train` takes.

``slots=True`` is not for speed: without it a misspelt option that Hydra lets through would be dropped silently.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """How samples are drawn, augmented and batched."""

    batch_size: int = 8
    """Images in a training batch, of each process."""
    crop_size: list[int] = field(default_factory=lambda: [512, 512])
    """[height, width] of a training crop [pixels]."""
    scale_range: list[float] = field(default_factory=lambda: [0.5, 2.0])
    """Smallest and largest random factor on a training image's size."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    color_jitter: float = 0.4
    """Strength on brightness, contrast and saturation, 0-1; on hue a quarter of it."""
    category_max_ratio: float = 1.0
    """Share of the labeled pixels from which a class makes a crop be drawn at another place; 1: never."""
    cutmix: float = 0.0
    """Probability that a rectangle of a crop comes from another crop of its batch."""
    oversample_rare: float = 0.0
    """Share of the images, 0-1: images that hold a class that fewer hold come more often; 0: all come equally often."""
    cache: str | None = None
    """Where decoded images and masks of the training and val splits are kept: memory or disk; null: nowhere."""
    cache_size: float = 8.0
    """How much memory, of each process that trains, or disk, of all datasets, that may take [GiB]."""
    num_workers: int | None = None
    """Processes that load data; null: half of the cores, at most 8."""
    timeout: float = 300.0
    """How long a batch may take to load before the run gives up [seconds]."""
    check: bool = True
    """Whether every file is read once before the first step."""


@dataclass(slots=True, kw_only=True)
class OptimConfig:
    """The optimizer, and its learning rate over the run: a warm-up, then a schedule; both change every step."""

    name: str = "sgd"
    """Of segnet.training.optim.OPTIMIZERS: sgd or adamw."""
    lr: float = 0.01
    """Highest learning rate; the schedule's first."""
    batch_size: int | None = None
    """Images of a step, those of all processes together, that lr is meant for; null: not known."""
    scale_lr: bool = False
    """Whether lr is scaled linearly from batch_size to the images that a step really has."""
    backbone_lr_factor: float = 1.0
    """On the learning rate of the backbone."""
    momentum: float = 0.9
    """Of sgd."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Of adamw: how slowly the means of the gradients and of their squares change."""
    weight_decay: float = 1e-4
    """Weight decay (L2)."""
    norm_decay: bool = True
    """Whether norms and biases decay too, as in PaddleSeg's and mmsegmentation's recipes for sgd."""
    schedule: str = "poly"
    """Of segnet.training.optim.SCHEDULES: poly, lr * (1 - step / steps) ** power, or cosine."""
    power: float = 0.9
    """Exponent of poly; 0 keeps the learning rate."""
    min_lr: float = 0.0
    """Where the schedule ends."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises linearly to lr, before the schedule begins."""


@dataclass(slots=True, kw_only=True)
class EmaConfig:
    """An exponential moving average of the weights, which is then what is evaluated and saved as best."""

    decay: float | None = None
    """Share of the old average that each step keeps, as 0.999; less in the first steps. null: no average."""


@dataclass(slots=True, kw_only=True)
class EarlyStoppingConfig:
    """An end before the last step."""

    patience: int | None = None
    """After how many validations without a higher val mIoU the run ends; null: never."""
    min_delta: float = 0.0
    """By how much more than this the mIoU must rise to be higher."""


@dataclass(slots=True, kw_only=True)
class Config:
    """Everything that a training run depends on."""

    backbone: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.models.backbones.BACKBONES."""
    backbone_weights: str | None = None
    """File, URL or name on the hub to initialize the backbone from."""
    mean: list[float] | None = None
    """Of each channel of the images, 0-1; null: what backbone_weights were trained with, or 0.5 without."""
    std: list[float] | None = None
    """Standard deviation of each channel, 0-1; null: as for mean."""
    decoder: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.models.decoders.DECODERS."""
    loss: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.losses.LOSSES."""
    auxiliary_head: dict[str, Any] | None = None
    """Spec from segnet.models.auxiliary.AUXILIARY_HEADS: a second loss while training; null: none."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.data.DATASETS."""
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Any argument of Lightning's Trainer, as trainer.max_epochs=50, trainer.max_steps, trainer.devices=2."""
    output_stride: int = 16
    """Of the backbone; exists to be interpolated into the specs: nothing reads it."""
    norm: dict[str, Any] = field(default_factory=lambda: {"name": "batch"})
    """Spec from segnet.models.norms.NORMS, for backbone and decoder; exists to be interpolated into theirs."""
    frozen_stages: int | None = None
    """Up to which part of the backbone nothing trains: 0 the stem, 1 also the first stage, ...; null: all train."""
    norm_eval: bool = False
    """Whether the backbone's batch norms keep their running statistics; their scale and bias train all the same."""
    seed: int = 0
    """Of initialization, order and augmentation."""
    deterministic: bool = False
    """Whether only operations are used that give the same result each time, on a GPU too; slower there."""
    compile: bool = False
    """Whether torch.compile translates backbone and decoder first, which takes a minute or so; needs a C++ compiler."""
    non_finite: str = "stop"
    """What a loss that is not finite does: stop the run, or skip that step."""
    logger: dict[str, Any] | None = None
    """Spec from segnet.training.loggers.LOGGERS: where the metrics go besides metrics.csv; null: nowhere."""
    profile: bool = False
    """Whether a few steps are measured: profile.txt tells where their time goes, profile.json is a trace for Chrome."""
    worst_images: int = 8
    """How many val images of the lowest mIoU report.html shows."""
    init_from: str | None = None
    """A checkpoint of segnet to fine-tune from: of the same architecture; other classes get a new classifier."""
    checkpoint: str | None = None
    """The last.ckpt of a run to go on with, in its own folder; auto: the newest usable one of this configuration."""
    checkpoint_every: int | None = None
    """After how many steps last.ckpt is written within an epoch [steps]; null: see checkpoint_minutes."""
    checkpoint_minutes: float | None = 20.0
    """After how long last.ckpt is written within an epoch [minutes]; null: at validations and ends of epochs only."""


@dataclass(slots=True, kw_only=True)
class EvaluateConfig:
    """What `segnet evaluate` depends on."""

    checkpoint: str = "???"
    """The .ckpt file to evaluate."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.data.DATASETS."""
    split: str = "val"
    """train, val or test."""
    data: DataConfig = field(default_factory=DataConfig)
    flip: bool = False
    """Whether to average the predictions of an image and its mirror image."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Factors on the size of an image, over which predictions are averaged."""
    window: int | None = None
    """Side of the windows into which larger images are cut [pixels]; null: images are predicted whole."""
    overlap: float = 0.25
    """Share of a window that the next one repeats at least, 0-0.9."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of Lightning's Trainer."""


@dataclass(slots=True, kw_only=True)
class ShardConfig:
    """What `segnet shard` depends on."""

    dataset: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.data.DATASETS: what is written as shards."""
    data: DataConfig = field(default_factory=DataConfig)
    """Not read; choices of dataset set it too."""
    splits: list[str] = field(default_factory=lambda: ["train", "val"])
    """Which to write, of train, val and test."""
    output: str = "???"
    """The folder to write; may not exist yet."""
    images_per_shard: int = 500
    """In each tar file, but the last of a split."""


@dataclass(slots=True, kw_only=True)
class InspectConfig(Config):
    """What `segnet inspect` depends on; it takes a training's options, and reads dataset, data and seed of them."""

    splits: list[str] = field(default_factory=lambda: ["train", "val"])
    """Which to look at, of train, val and test."""
    num_images: int = 8
    """Rows of the contact sheet, which shows the augmentation too."""


@dataclass(slots=True, kw_only=True)
class BenchmarkConfig:
    """What `segnet benchmark` depends on."""

    checkpoint: str | None = None
    """The .ckpt file whose model is measured; null: that of the options that follow, untrained."""
    backbone: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.models.backbones.BACKBONES; a checkpoint replaces this and all options down to num_classes."""
    backbone_weights: str | None = None
    """Not to be set: they change no speed; choices of backbone name it."""
    decoder: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.models.decoders.DECODERS."""
    loss: dict[str, Any] = field(default_factory=dict)
    """Spec from segnet.losses.LOSSES."""
    auxiliary_head: dict[str, Any] | None = None
    """Spec from segnet.models.auxiliary.AUXILIARY_HEADS; null: none."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    output_stride: int = 16
    """Of the backbone; exists to be interpolated into the specs: nothing reads it."""
    norm: dict[str, Any] = field(default_factory=lambda: {"name": "batch"})
    """Spec from segnet.models.norms.NORMS, likewise."""
    num_classes: int = 19
    """Number of classes of the measured model."""
    image_size: list[int] = field(default_factory=lambda: [512, 512])
    """[height, width] of the images [pixels]."""
    batch_size: int = 4
    """Images in a batch, of training and prediction alike."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; null: a GPU where there is one."""
    precision: str = "float32"
    """float32, bf16 or fp16: of a prediction as predict takes it, of training by autocast."""
    runtime: str | None = None
    """Of a prediction: torch, onnxruntime or openvino; null chooses as predict does."""
    compile: bool = False
    """Whether torch.compile translates what a training step runs."""
    seconds: float = 10.0
    """How long training and prediction are each measured; at least one batch [seconds]."""
