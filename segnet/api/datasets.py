"""`segnet.inspect`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segnet.api.calls import configured, made_folder, notebook_bundle
from segnet.cli.tables import report_table
from segnet.cli.values_table import values_table
from segnet.config import Config
from segnet.data.scan.report import DatasetReport
from segnet.data.scan.values_report import ValuesReport
from segnet.inference.ensemble import StrPath
from segnet.verb_config import InspectConfig


@dataclass(frozen=True, slots=True)
class Inspection:
    """A dataset that was inspected.

    Attributes:
        folder: the run folder, with inspection.json and contact_sheet.png.
        report: `report.errors` and `report.warnings` are lists of messages; `report.require_sound()` raises the first
            error. Without class names, `report.readings` has the ways to read the masks.
    """

    folder: Path
    report: DatasetReport | ValuesReport = field(repr=False)

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        if isinstance(self.report, ValuesReport):
            return notebook_bundle(self, values_table(self.report))
        return notebook_bundle(self, report_table(self.report))


def inspect(*options: str | Config | InspectConfig, output_dir: StrPath | None = None, **values: Any) -> Inspection:
    """Read every file of a dataset and report its problems, like `segnet inspect`.

    Args:
        *options: "name=value", as on the command line; or one configuration. Of a training's `Config` the dataset, its
            augmentation and the seed count.
        output_dir: where inspection.json and contact_sheet.png are written; None: runs/DATE_inspect.
        **values: options as keywords: dataset, splits, num_images, ...

    Returns:
        The report. Unlike on the command line, unusable files raise no error: see `report.errors`.

    Raises:
        SegnetError: an option does not allow it, or a split cannot be put together.
    """
    from segnet.workflows.inspect import inspect as run
    from segnet.workflows.inspect_values import has_no_names, inspect_values

    if options and isinstance(options[0], Config):
        given = options[0]
        options = (InspectConfig(dataset=given.dataset, data=given.data, seed=given.seed), *options[1:])
    config, folder = configured("inspect", InspectConfig, options, values, output_dir)
    with made_folder(folder):
        if has_no_names(config):
            return Inspection(folder, inspect_values(config, folder)[0])
        return Inspection(folder, run(config, folder))
