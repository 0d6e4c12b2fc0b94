"""Report of the values or colors in the masks of a dataset without class names, with suggested options."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from segnet.config import DataConfig
from segnet.data.datasets.label_advice import SMOOTHED, are_smoothed
from segnet.data.scan.band_values import BandValues, common_range, pooled
from segnet.data.scan.crop_fill import small_images, smaller_crop
from segnet.data.scan.mask_values import SplitContent
from segnet.data.scan.problems import Report, grouped
from segnet.data.scan.readings import Reading, option_text, readings_of_colors, readings_of_ids

CHOICE_HEADER = "# @package _global_\n"  # required by Hydra as the first line of a choice
YAML_WIDTH = 110


@dataclass(frozen=True)
class ValuesReport(Report):
    """The values or colors of the masks of a dataset.

    Attributes:
        spec: spec of the dataset, without class_names.
        splits: the read splits.
        lost: files that belong to no sample, one line each.
        data: options of the training crops.
    """

    spec: Mapping[str, Any]
    splits: Sequence[SplitContent]
    lost: Sequence[str] = ()
    data: DataConfig = field(default_factory=DataConfig)

    @property
    def is_colored(self) -> bool:
        """Whether any mask is a color mask; all masks are read as colors then."""
        return any(mask.num_colors for split in self.splits for mask in split.masks)

    @cached_property
    def pixels(self) -> Counter[Any]:
        """Value or color -> number of pixels in all masks."""
        return sum((split.counts(self.is_colored)[0] for split in self.splits), Counter())

    @cached_property
    def declared(self) -> list[int]:
        """The nodata values that masks declare."""
        values = {mask.declared for split in self.splits for mask in split.masks if mask.declared is not None}
        return sorted(int(value) for value in values if float(value).is_integer())

    @cached_property
    def readings(self) -> list[Reading]:
        """The possible readings of the masks, the likeliest first."""
        if not self.is_colored:
            return readings_of_ids(self.pixels, self.declared)
        most = max(mask.num_colors for split in self.splits for mask in split.masks)
        return readings_of_colors(self.pixels, max(most, len(self.pixels)))

    @property
    def errors(self) -> list[str]:
        """Problems to fix before training, one line each."""
        problems = [finding for split in self.splits for finding in split.findings if finding.problem]
        found = [*self.lost, *grouped(problems, {})]
        if not self.readings and self.pixels:
            found.append(self._no_reading())
        return found

    def _no_reading(self) -> str:
        if self.is_colored:
            return f"the masks hold {len(self.pixels):,} colors and {SMOOTHED}, or are not masks"
        if are_smoothed(self.pixels):
            return f"the masks hold {len(self.pixels):,} values and {SMOOTHED}"
        if len(self.pixels) == 1:
            return f"the masks hold the value {next(iter(self.pixels))} alone: there is nothing to learn"
        return f"the masks hold {len(self.pixels):,} values, which are neither classes nor instances: save class ids"

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user to check, one line each."""
        notes = [f"{split.split}: {note}" for split in self.splits for note in split.notes]
        return notes + [text for split in self.splits if (text := small_images(split.split, split.sizes, self.data))]

    @cached_property
    def values(self) -> BandValues | None:
        """Band statistics over all images, 0-1, relative to the value range if there is one."""
        found = pooled([finding.values for split in self.splits for finding in split.findings])
        limits = [finding.limits for split in self.splits for finding in split.findings if finding.limits]
        if found is None or self.value_range is None:
            return found
        low, high = self.value_range
        return found.within(low / limits[0][2], high / limits[0][2])

    @cached_property
    def value_range(self) -> tuple[float, float] | None:
        """The stored values that should become black and white; None: the dtype's range fits."""
        findings = [finding for split in self.splits for finding in split.findings if not finding.problem]
        limits = [finding.limits for finding in findings if finding.limits]
        found = pooled([finding.values for finding in findings])
        outside = any(limit[0] < 0 or limit[1] > limit[2] for limit in limits)
        return common_range(limits) if outside or (found and found.is_little) else None

    def choice(self, reading: Reading) -> dict[str, Any]:
        """Return the training options of a reading: the dataset, and options that depend on it."""
        dataset = {**self.spec, **reading.options}
        if self.value_range:
            dataset["value_range"] = [int(value) if value.is_integer() else value for value in self.value_range]
        found: dict[str, Any] = {"dataset": dataset}
        train = next((split for split in self.splits if split.split == "train"), None)
        if train and (crop := smaller_crop(train.sizes, self.data)):
            found["data"] = {"crop_size": crop}
        channels = self.spec.get("channels", 3)
        if channels != 3:
            found["backbone"] = {"in_channels": channels}
        return found

    def options(self, reading: Reading) -> str:
        """Format the options to add to this inspection's command line, ready to paste."""
        found = self.choice(reading)
        new = {key: value for key, value in found["dataset"].items() if self.spec.get(key) != value}
        sections = {**found, "dataset": new}
        return " ".join(
            option_text(f"{section}.{key}", value)
            for section, options in sections.items()
            for key, value in options.items()
        )

    def yaml(self, reading: Reading) -> str:
        """Return the content of a file conf/dataset/NAME.yaml for dataset=NAME."""
        body = yaml.safe_dump(
            self.choice(reading), sort_keys=False, default_flow_style=None, width=YAML_WIDTH, allow_unicode=True
        )
        return f"{CHOICE_HEADER}# Written by segnet inspect, {reading.condition}. Give the classes their names.\n{body}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible builtins."""
        return {
            "splits": {split.split: self._split_record(split) for split in self.splits},
            "readings": [
                {"condition": reading.condition, "options": self.options(reading)} for reading in self.readings
            ],
            "errors": self.errors,
            "warnings": self.warnings,
        }

    def _split_record(self, split: SplitContent) -> dict[str, Any]:
        pixels, images = split.counts(self.is_colored)
        name = "color" if self.is_colored else "value"
        return {
            "num_images": len(split.masks),
            "sizes": [
                {"height": height, "width": width, "images": number}
                for (height, width), number in split.sizes.most_common()
            ],
            f"{name}s": [
                {name: list(key) if self.is_colored else key, "pixels": pixels[key], "images": images[key]}
                for key in sorted(pixels)
            ],
            "no_data": sum(mask.no_data for mask in split.masks),
            "problems": [finding.problem for finding in split.findings if finding.problem],
        }
