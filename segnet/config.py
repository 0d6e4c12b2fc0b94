"""The options of a training: dataclasses with defaults for the user's own data.

A null option of a training run is chosen from the data, the weights and the machine (`segnet.training.plan`).

The text below a field is its only documentation: `--help`, the reference pages and the editor show it. The files in
conf/ override defaults for a choice, such as dataset=shapes.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

# slots=True: without it, an unknown option that Hydra lets through would be dropped silently.

OUTPUT_STRIDES = (8, 16, 32)
PRECISIONS = ("float32", "bf16", "fp16")


def known(value: T | None) -> T:
    """Return an option that is resolved already (`segnet.training.plan`); its type excludes null."""
    assert value is not None
    return value


@dataclass(slots=True, kw_only=True)
class LoaderConfig:
    """How samples are loaded."""

    num_workers: int | None = None
    """Worker processes that load data; null: half of the CPU cores, at most 8."""
    timeout: float = 300.0
    """Time to wait for a batch before the run stops with an error [seconds]."""


@dataclass(slots=True, kw_only=True)
class DataConfig(LoaderConfig):
    """How samples are loaded, augmented and batched."""

    batch_size: int | None = None
    """Images in a training batch, per process; null: 8, or all train images if they are fewer."""
    crop_size: list[int] | None = None
    """[height, width] of a training crop [pixels]; null: chosen from the sizes of the train images."""
    augment: Any = None
    """More augmentation: street, aerial, microscope, document, or a list of albumentations transforms or its file."""
    scale_range: list[float] | None = None
    """Smallest and largest random scale factor of a training image; null: [0.5,2], or that of data.augment."""
    flip: float | None = None
    """Probability of a random horizontal flip, 0-1; null: 0.5, or that of data.augment."""
    color_jitter: float | None = None
    """Strength of random brightness, contrast, saturation, 0-1, hue a quarter; null: 0.4, or that of data.augment."""
    category_max_ratio: float = 1.0
    """Draw a crop again if one class fills more than this fraction of its labeled pixels; 1: never."""
    cutmix: float = 0.0
    """Probability of CutMix, 0-1: a rectangle of a crop is replaced by that of another crop of the batch."""
    oversample_rare: float = 0.0
    """Repeat images of rare classes, in less than this fraction of the images (0-1, as in LVIS); 0: off."""
    cache: str | None = None
    """Cache of decoded train and val images: memory or disk; null: none."""
    cache_size: float = 8.0
    """Largest size of the cache [GiB]: of each process (memory), or of all datasets together (disk)."""
    check: bool = True
    """Read and check every file before the first step."""


@dataclass(slots=True, kw_only=True)
class ConsistencyConfig:
    """Semi-supervised training on the images of `unlabeled` (UniMatch)."""

    weight: float = 1.0
    """Weight of the consistency loss of unlabeled images; the loss of labeled images has weight 1."""
    warmup_steps: int = 0
    """Steps in which the weight rises linearly from 0."""
    threshold: float = 0.95
    """Smallest probability of a pseudo-label, 0-1; less confident pixels have no loss."""
    batch_size: int | None = None
    """Unlabeled images in a training batch, per process; null: data.batch_size."""
    teacher: str | None = None
    """Network that predicts the pseudo-labels: model or ema, the EMA weights; null: ema if the run has an EMA."""
    color_jitter: float = 0.5
    """Strength of the random change of colors in strong views, 0-1; 0: no blur and no grayscale either."""
    cutmix: float = 0.5
    """Probability of CutMix in a strong view, 0-1."""
    channel_dropout: float = 0.5
    """Dropout probability of the feature channels of the feature perturbation stream; 0: no such stream."""


@dataclass(slots=True, kw_only=True)
class OptimConfig:
    """Optimizer and learning rate schedule; the learning rate changes every step."""

    name: str | None = None
    """Optimizer: sgd or adamw; null: adamw from random weights, sgd from pretrained ones or if lr is set."""
    lr: float | None = None
    """Peak learning rate; null: the optimizer's default, scaled to the effective batch size."""
    batch_size: int | None = None
    """Effective batch size that lr is for: images per step of all processes; null: that of this run."""
    scale_lr: bool = False
    """Scale lr linearly from optim.batch_size to the images per step of this run."""
    backbone_lr_factor: float = 1.0
    """Factor on the learning rate of the backbone."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each backbone stage to the one before it, above 0, at most 1; 1: none."""
    momentum: float = 0.9
    """Momentum of sgd, 0-1."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay rates of adamw's running means of gradients and squared gradients."""
    weight_decay: float | None = None
    """Weight decay (L2); null: 1e-4 with sgd, 0.05 with adamw."""
    norm_decay: bool | None = None
    """Apply weight decay to norm layers and biases too; null: with sgd, as PaddleSeg and mmsegmentation do."""
    schedule: str | None = None
    """Learning rate schedule: poly, lr * (1 - step / steps) ** power, or cosine; null: cosine with adamw."""
    power: float = 0.9
    """Exponent of poly; 0: constant learning rate."""
    min_lr: float = 0.0
    """Final learning rate of the schedule."""
    warmup_steps: int | None = None
    """Steps of linear warm-up to lr before the schedule starts; null: 10 % of the run, at most 500; 0 if lr is set."""


@dataclass(slots=True, kw_only=True)
class EmaConfig:
    """Exponential moving average (EMA) of the weights, which is then evaluated and saved as best.ckpt."""

    decay: float | None = None
    """Decay of the EMA per step, such as 0.999; 0: no EMA; null: over a tenth of the run, or 0 if lr is set."""


@dataclass(slots=True, kw_only=True)
class EarlyStoppingConfig:
    """Stop the run early if val mIoU no longer improves."""

    patience: int | None = None
    """Validations without improvement after which the run stops; null: never."""
    min_delta: float = 0.0
    """Smallest increase of val mIoU (a fraction, 0-1) that counts as improvement."""


def default_backbone() -> dict[str, Any]:
    """The spec of ResNet18_vd, which trains without a GPU; conf/backbone/resnet18_vd.yaml has the same."""
    return {"name": "resnet", "block": "basic", "depths": [2, 2, 2, 2], "stem": "deep", "shortcut": "pool"}


def default_decoder() -> dict[str, Any]:
    """The spec of DeepLabV3+."""
    return {"name": "deeplabv3plus"}


def default_loss() -> dict[str, Any]:
    """The spec of the cross entropy."""
    return {"name": "cross_entropy"}


def default_norm() -> dict[str, Any]:
    """The spec of batch norm."""
    return {"name": "batch"}


@dataclass(slots=True, kw_only=True)
class ValidationConfig:
    """Prediction of images in validation and evaluation."""

    flip: bool = False
    """Test-time augmentation: average the predictions of an image and its mirror image."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Test-time augmentation: average the predictions at these image scales."""
    window: int | None = None
    """Sliding-window inference: side of a window [pixels]; null: 1024 for images above 2.5
    megapixels, else whole images."""
    overlap: float = 0.25
    """Smallest overlap of neighboring windows, as a fraction of their side, 0-0.9."""


def default_trainer() -> dict[str, Any]:
    """Arguments of Lightning's Trainer with another default than Lightning's."""
    return {"devices": 1, "log_every_n_steps": 10}


@dataclass(slots=True, kw_only=True)
class Config:
    """Train a model and evaluate its best checkpoint."""

    backbone: dict[str, Any] = field(default_factory=default_backbone)
    """Backbone: a choice such as resnet50_vd, and its options."""
    backbone_weights: str | None = "imagenet"
    """Pretrained weights of the backbone: imagenet, a file, URL or name on the Hugging Face hub; null: random."""
    mean: list[float] | None = None
    """Mean of each image channel, 0-1, for normalization; null: that of backbone_weights, or 0.5."""
    std: list[float] | None = None
    """Standard deviation of each image channel, 0-1; null: that of backbone_weights, or 0.5."""
    decoder: dict[str, Any] = field(default_factory=default_decoder)
    """Decoder: deeplabv3plus, deeplabv3 or upernet, and its options."""
    output_stride: int = 16
    """Output stride of backbone and decoder: 8, 16 or 32; their dilations and atrous rates follow from it."""
    norm: dict[str, Any] = field(default_factory=default_norm)
    """Norm layers of backbone, decoder and auxiliary head: name=batch, sync_batch, group, layer or instance."""
    loss: dict[str, Any] = field(default_factory=default_loss)
    """Loss: a choice such as ohem or ce_dice, and its options."""
    auxiliary_head: dict[str, Any] | None = None
    """Auxiliary head for a second loss during training: fcn, and its options; null: none."""
    teacher: str | None = None
    """Checkpoint or published model of the same classes that the model also learns from; null: none."""
    distillation: dict[str, Any] | None = None
    """Loss between the model and its teacher: cwd or dist, and its options; null: cwd."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Dataset: a choice such as folder, and its options."""
    unlabeled: list[str] | None = None
    """Folders, globs or files of images without masks, for semi-supervised training; null: none."""
    data: DataConfig = field(default_factory=DataConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    trainer: dict[str, Any] = field(default_factory=default_trainer)
    """Arguments of Lightning's Trainer, such as max_epochs or max_steps; without them, the length follows the data."""
    precision: str = "float32"
    """Precision of training: float32, bf16 or fp16 (mixed precision); evaluation is always float32."""
    frozen_stages: int | None = None
    """Number of backbone stages that are frozen: 0 the stem, 1 the stem and the first stage, ...; null: nothing."""
    norm_eval: bool = False
    """Freeze the running statistics of the backbone's batch norms; their scale and bias still train."""
    seed: int = 0
    """Seed of initialization, order and augmentation."""
    deterministic: bool = False
    """Use deterministic operations only, so that a GPU gives the same weights each time; slower."""
    compile: bool = False
    """Compile backbone and decoder with torch.compile: takes about a minute, and needs a C++ compiler."""
    non_finite: str = "stop"
    """Action on a non-finite loss: stop the run, or skip the step."""
    logger: dict[str, Any] | None = None
    """Experiment logger besides metrics.csv: tensorboard, wandb or mlflow, and its options; null: none."""
    profile: bool = False
    """Profile a few steps: times in profile.txt, a trace for Chrome or Perfetto in profile.json."""
    budget: str | None = None
    """Time budget of the whole run, such as 90s, 30min or 1h30m; null options are chosen for it. null: no limit."""
    worst_images: int = 8
    """Val images with the lowest mIoU in report.html."""
    boundary: float | None = None
    """Boundary IoU and trimap mIoU in the final evaluation, of this width, such as 0.02 of the diagonal; null: off."""
    calibrate: str | None = "global"
    """Temperature of the probabilities in best.ckpt, fitted to val at the end: global, class (by class), null: none."""
    init_from: str | None = None
    """Checkpoint or published model to fine-tune, of the same architecture; classes match by name, new ones: random."""
    checkpoint: str | None = None
    """last.ckpt of a run to resume in its folder; auto: the one with the most steps of this configuration."""
    checkpoint_every: int | None = None
    """Interval between checkpoints within an epoch [steps]; null: checkpoint_minutes alone."""
    checkpoint_minutes: float | None = 20.0
    """Interval between checkpoints within an epoch [minutes]; null: only at validations and ends of epochs."""
