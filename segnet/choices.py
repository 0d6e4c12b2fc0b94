"""Allowed values of options; importable without torch, for `--help` and usage errors."""

RUNTIMES = ("torch", "onnxruntime", "openvino")  # runtimes of a model
PREDICTION_PRECISIONS = ("float32", "bf16", "fp16", "auto")  # those of a training, and the measured one
IMAGE_KINDS = (  # kinds of results for an image, written by segnet.prediction.outputs
    *("mask", "overlay", "colors", "confidence", "probabilities"),
    *("geojson", "coco", "labelme", "yolo", "cvat", "label-studio"),
)
FOLDER_KINDS = ("coco", "yolo", "cvat", "label-studio")  # of these, the ones with one file for all images of a folder
SAVE_KINDS = (*IMAGE_KINDS, "csv")
WEB = "web"  # the export format that is a page
EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", WEB: ".html"}  # by export format
FORMATS = (*EXPORT_SUFFIXES, "safetensors")
OUTPUT_KINDS = ("logits", "classes")  # of an exported model
YAML_SUFFIXES = (".yaml", ".yml")
AUGMENT_PRESETS = ("street", "aerial", "microscope", "document")  # of data.augment
TEMPERATURES = ("global", "class")  # of option calibrate: one temperature, or one per predicted class
CLASS_WEIGHT_RULES = ("auto", "inverse_log", "median_frequency")
RANK_METHODS = (  # of segnet rank: a measure of uncertainty, diversity, or both
    *("entropy", "margin", "bald", "diversity"),
    *("entropy+diversity", "margin+diversity", "bald+diversity"),
    "random",
)
NAMES_OF_OPTIONS: dict[str, tuple[str, ...]] = {  # option -> its names; a test compares them with the tables that build
    "backbone.name": ("resnet", "timm"),
    "decoder.name": ("deeplabv3", "deeplabv3plus", "upernet"),
    "norm.name": ("batch", "sync_batch", "group", "layer", "instance"),
    "loss.name": ("bce_dice", "cross_entropy", "dice", "focal", "lovasz", "ohem", "rmi", "sum", "tversky"),
    "auxiliary_head.name": ("fcn",),
    "distillation.name": ("cwd", "dist"),
    "logger.name": ("tensorboard", "wandb", "mlflow"),
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("poly", "cosine"),
    "non_finite": ("stop", "skip"),
    "consistency.teacher": ("model", "ema"),
    "data.cache": ("memory", "disk"),
    "method": RANK_METHODS,
}
DEFAULT_WINDOW = 1024  # side of the windows into which large images are cut [pixels]
FOLDER_OPTIONS = "segnet.json"  # file with the options of dataset=folder, in the folder that they read
