"""Inspect a dataset, without Hydra: read every file, as training does at its start, and report all findings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segnet.config import DataConfig
from segnet.data import build_splits
from segnet.data.augment.listed import checked_augment
from segnet.data.augment.mixing import CutMix
from segnet.data.datamodule import train_transform
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.pairing import SPLITS, lost_files
from segnet.data.scan.crop_fill import fitting_crop
from segnet.data.scan.report import DatasetReport
from segnet.data.scan.scan import ScanCache, scan_split
from segnet.errors import ConfigError
from segnet.images.bands import unstretched
from segnet.images.drawing import contact_sheet
from segnet.images.files import write_image
from segnet.system.files import replacing
from segnet.verb_config import InspectConfig

LARGEST_SHEET_CROP = 512  # limit of the contact sheet's crops if data.crop_size follows the images [pixels]


def inspect(config: InspectConfig, output_dir: Path) -> DatasetReport:
    """Read a dataset and report all findings.

    Writes inspection.json into the folder, and contact_sheet.png if any sample can be read.

    Raises:
        ConfigError: an impossible option.
        DataError: a split cannot be built. Problems of single files are in the report instead.
    """
    require_inspectable(config)
    config = replace(config, data=checked_augment(config.data))
    with lost_files() as lost:
        datasets = build_splits(config.dataset, config.splits)
    cache = ScanCache(config.dataset, next(iter(datasets.values())).classes)
    reports = [
        replace(scan_split(dataset, split, cache), notes=dataset.notes.lines()) for split, dataset in datasets.items()
    ]
    report = DatasetReport(reports, list(dict.fromkeys(lost)), config.data)
    with replacing(output_dir / "inspection.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    shown = reports[0]
    usable = [index for index, finding in enumerate(shown.findings) if not finding.problem]
    if usable and config.num_images:
        fitted = replace(config, data=with_sheet_crop(config.data, shown.sizes))
        write_contact_sheet(datasets[shown.split], usable, fitted, output_dir / "contact_sheet.png")
    return report


def require_inspectable(config: InspectConfig) -> None:
    """Raises:
    ConfigError: an impossible option.
    """
    if not config.splits or set(config.splits) - set(SPLITS):
        raise ConfigError(f"splits={config.splits} must be some of {', '.join(SPLITS)}")
    if config.num_images < 0:
        raise ConfigError(f"num_images={config.num_images} must be 0 or more")


def with_sheet_crop(data: DataConfig, sizes: Mapping[tuple[int, int], int]) -> DataConfig:
    """Return the options of a contact sheet, with a crop size if data.crop_size follows the images."""
    return data if data.crop_size else replace(data, crop_size=fitting_crop(sizes, LARGEST_SHEET_CROP))


def write_contact_sheet(samples: SegmentationDataset, usable: list[int], config: InspectConfig, target: Path) -> None:
    """Write a sheet of samples, evenly spread over the usable ones, each before and after augmentation."""
    transform = train_transform(config.data, [0.5] * samples.channels, samples.classes.ignore_index, config.seed)
    transform.try_listed(samples.classes.num_ids)
    mix = CutMix(config.data.cutmix, config.seed)
    count = min(config.num_images, len(usable))
    keys = [(0, usable[number * len(usable) // count]) for number in range(count)]  # (epoch, sample number)
    shown = [samples.load(number) for _, number in keys]
    crops = [
        Sample(*transform(sample.image, sample.mask, epoch=epoch, index=number), sample.name)
        for sample, (epoch, number) in zip(shown, keys, strict=True)
    ]
    rows = [
        (unstretched(sample.image), sample.mask, unstretched(crop.image), crop.mask)
        for sample, crop in zip(shown, mix(crops, keys), strict=True)
    ]
    write_image(target, contact_sheet(rows, samples.classes))
