"""Metadata of exported files, under their key "segnet": classes, normalization, input and output types."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segnet.choices import OUTPUT_KINDS
from segnet.classes import Classes
from segnet.errors import CheckpointError
from segnet.models.temperature import UNCALIBRATED, Temperature
from segnet.system.integrity import refusing_damage

KEY = "segnet"
INPUTS = ("uint8", "float32")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Input and output of an exported model.

    Attributes:
        classes: names, palette and ignore_index.
        mean, std: one value per channel, for images scaled to 0-1. Information only: the model normalizes its input.
        input: dtype of the images (B, C, H, W), 0-255; one of INPUTS.
        output: "logits" (B, classes, H, W), float32, or "classes" (B, H, W), ids as uint8, or int32 above 256 classes;
            with several classes per pixel, "classes" is (B, classes, H, W) uint8, 1 where a pixel has the class.
        digest: SHA-256 of the exported checkpoint; empty if unknown.
        value_range: the stored image values that become 0 and 255; None: 0 and the largest value of their dtype.
        temperature: that of the probabilities; the logits are not divided by it.
    """

    classes: Classes
    mean: Sequence[float]
    std: Sequence[float]
    input: str
    output: str
    digest: str = ""
    value_range: tuple[float, float] | None = None
    temperature: Temperature = UNCALIBRATED

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.mean)

    @property
    def temperature_of_logits(self) -> Temperature:
        """The temperature for the output; class ids have no probabilities to calibrate."""
        return self.temperature if self.output == "logits" else UNCALIBRATED

    def to_json(self) -> str:
        """Serialize to one line of JSON for `read`."""
        record = {
            "classes": self.classes.to_dict(),
            "mean": list(self.mean),
            "std": list(self.std),
            "input": self.input,
            "output": self.output,
            "checkpoint_sha256": self.digest,
            "value_range": self.value_range and list(self.value_range),
            "temperature": list(self.temperature.values),
            "integrity": "sha256",  # the file ends in a digest: segnet.models.digests
        }
        return json.dumps(record)

    def to_props(self) -> Mapping[str, str]:
        """Return metadata entries: the complete JSON for segnet, and single fields for other programs."""
        own = self.classes
        task = {"task": own.task, "thresholds": json.dumps(own.decision_thresholds)} if own.is_multilabel else {}
        return {
            KEY: self.to_json(),
            **task,
            "class_names": json.dumps(list(self.classes.names)),
            "palette": json.dumps([list(color) for color in self.classes.palette]),
            "ignore_index": str(self.classes.ignore_index),
            "mean": json.dumps(list(self.mean)),
            "std": json.dumps(list(self.std)),
            "temperature": json.dumps(list(self.temperature.values)),
        }

    @classmethod
    def read(cls, text: str | None, path: str | os.PathLike[str]) -> "Metadata":
        """Parse the JSON of `to_json`.

        Args:
            text: the JSON; None if the file has none.
            path: path of the file, for messages.

        Raises:
            CheckpointError: the file is not an export of segnet.
        """
        if text is None:
            raise CheckpointError(f"{path}: was not exported by segnet: its metadata contain no classes")
        with refusing_damage(path, "its metadata are damaged"):
            record = json.loads(text)
            classes = Classes.create(**record["classes"])
            found = cls(
                classes,
                tuple(float(value) for value in record["mean"]),
                tuple(float(value) for value in record["std"]),
                record["input"],
                record["output"],
                str(record["checkpoint_sha256"]),
                (float(limits[0]), float(limits[1])) if (limits := record.get("value_range")) else None,
                Temperature.read(record.get("temperature"), len(classes.names)),
            )
        if found.input not in INPUTS or found.output not in OUTPUT_KINDS:
            raise CheckpointError(f"{path}: was exported by another version of segnet: export it again")
        return found
