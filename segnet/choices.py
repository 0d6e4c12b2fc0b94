"""Values that options choose from. They are importable without torch: `--help` and usage errors need nothing else."""

RUNTIMES = ("torch", "onnxruntime", "openvino")  # that run a model
IMAGE_KINDS = (  # files that a prediction writes for an image; segnet.prediction.outputs writes them
    *("mask", "overlay", "colors", "confidence", "probabilities"),
    *("geojson", "coco", "labelme"),
)
SAVE_KINDS = (*IMAGE_KINDS, "csv")
EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}  # by export format
FORMATS = (*EXPORT_SUFFIXES, "safetensors")
OUTPUT_KINDS = ("logits", "classes")  # of an exported model
DEFAULT_WINDOW = 1024  # side of the windows into which large images are cut [pixels]
