"""Tables for the terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segnet.classes import Classes
from segnet.cli.output import say
from segnet.config import Config
from segnet.data.scan.band_values import BandValues
from segnet.data.scan.report import DatasetReport
from segnet.errors import printable
from segnet.system.files import GIB
from segnet.training.boundary_metrics import BoundaryScores
from segnet.training.metrics import DEFINITION, Scores, percent
from segnet.training.run_config import flat_options
from segnet.workflows.benchmark import Benchmark
from segnet.workflows.crossval_report import CrossvalScores
from segnet.workflows.doubt import Suspect
from segnet.workflows.evaluate import Results

NUM_ERRORS = 50  # printed at most
NUM_SUSPECTS = 20  # images with doubtful labels, printed at most


def cell(text: str) -> Text:
    """Literal text for a table: rich would read "[...]" and ":...:" in a string as markup."""
    return Text(printable(text))


def print_scores(results: Results) -> None:
    """Print the scores of each class and their means."""
    scores, classes = results.scores, results.classes
    Console().print(scores_table(results))
    if results.boundary:
        Console().print(boundary_table(results.classes, results.boundary))
    say(f"mIoU {percent(scores.miou)} over {scores.num_averaged} of {len(classes.names)} classes ({DEFINITION})")
    say(f"pixel accuracy {percent(scores.pixel_accuracy)}, mean Dice {percent(scores.mean_dice)}")
    if results.refused:
        say(f"refused {percent(results.refused_fraction)} of the labeled pixels: all scores are those of the others")
    if sure := results.confidence:
        say(
            f"expected calibration error {percent(sure.ece)} at temperature {results.temperature}; "
            f"{percent(sure.risk(0.8))} of the most confident 80 % of the pixels are wrong"
        )
    if results.at_half is not None:
        say(_about_thresholds(results, results.at_half))
    if near := results.boundary:
        say(f"Boundary mIoU {percent(near.boundary_miou)}, trimap mIoU {percent(near.trimap_miou)}")


def scores_table(results: Results) -> Table:
    """Build the table of the scores of each class; "n/a" stands for 0 / 0."""
    scores, classes = results.scores, results.classes
    files = ", ".join(path.name for path in results.checkpoints)
    table = Table(title=cell(f"{results.split}: {results.num_images:,} images, {files}"))
    columns = {"IoU %": scores.iou, "Dice %": scores.dice}
    columns |= {"accuracy %": scores.accuracy, "precision %": scores.precision}
    if results.at_half is not None:
        columns["IoU % with 0.5"] = results.at_half.iou
    table.add_column("class")
    for column in (*columns, "pixels"):
        table.add_column(column, justify="right")
    if results.at_half is not None:
        table.add_column("threshold", justify="right")
    for label, (name, pixels, *ratios) in enumerate(zip(classes.names, scores.pixels, *columns.values(), strict=True)):
        threshold = [f"{classes.decision_thresholds[label]:.3f}"] if results.at_half is not None else []
        table.add_row(cell(name), *(percent(ratio, "") for ratio in ratios), f"{pixels:,}", *threshold)
    return table


def _about_thresholds(results: Results, at_half: Scores) -> str:
    """What the scores of several classes per pixel depend on."""
    task, plain = results.classes.task, f"mIoU {percent(at_half.miou)} with threshold 0.5 for each class"
    if results.refinement.threshold:
        return f"several classes per pixel (task={task}), thresholds as given; {plain}"
    if not results.classes.thresholds:
        return f"several classes per pixel (task={task}); the checkpoint has no thresholds of its own: 0.5"
    fitted = "; on val, scores with them are optimistic" if results.split == "val" else ""
    return f"several classes per pixel (task={task}), thresholds chosen on val{fitted}; {plain}"


def print_crossval(scores: CrossvalScores) -> None:
    """Print the IoU of each class, pooled and by fold, and the mIoU."""
    Console().print(crossval_table(scores))
    say(f"pooled mIoU {percent(scores.pooled.miou)} ({DEFINITION})")
    say(f"mean of the folds {percent(scores.miou.mean)}, standard deviation {percent(scores.miou.deviation)}")
    if scores.about_thresholds:
        say(scores.about_thresholds)


def crossval_table(scores: CrossvalScores) -> Table:
    """Build the table of the IoU of each class and the mIoU, pooled and by fold."""
    table = Table(title=f"{len(scores.folds)} folds, {sum(fold.num_images for fold in scores.folds):,} held-out images")
    for column in ("IoU %", "pooled", "mean", "sd", *(fold.folder.name for fold in scores.folds)):
        table.add_column(column, justify="left" if column == "IoU %" else "right")
    by_fold = [fold.scores for fold in scores.folds]
    for label, (name, spread) in enumerate(zip(scores.classes.names, scores.iou, strict=True)):
        ratios = [scores.pooled.iou[label], spread.mean, spread.deviation, *(found.iou[label] for found in by_fold)]
        table.add_row(cell(name), *(percent(ratio, "") for ratio in ratios))
    table.add_section()
    ratios = [scores.pooled.miou, scores.miou.mean, scores.miou.deviation, *(found.miou for found in by_fold)]
    table.add_row("mIoU", *(percent(ratio, "") for ratio in ratios))
    return table


def boundary_table(classes: Classes, scores: BoundaryScores) -> Table:
    """Build the table of the scores near class boundaries; "n/a" stands for 0 / 0."""
    table = Table(title=cell(f"up to {scores.ratio:g} of the image diagonal from a class boundary"))
    table.add_column("class")
    for column in ("Boundary IoU %", "trimap IoU %"):
        table.add_column(column, justify="right")
    for name, *ratios in zip(classes.names, scores.boundary_iou, scores.trimap_iou, strict=True):
        table.add_row(cell(name), *(percent(ratio, "") for ratio in ratios))
    return table


def print_doubt(ranked: Sequence[Suspect], classes: Classes) -> None:
    """Print the images with the most doubt about their labels, each with its most doubtful region."""
    Console().print(doubt_table(ranked, classes))


def doubt_table(ranked: Sequence[Suspect], classes: Classes) -> Table:
    """Build the table of the images with the most doubt."""
    table = Table(title=f"{min(NUM_SUSPECTS, len(ranked))} of {len(ranked):,} images, most doubt first")
    for column in ("score", "image", "labeled", "looks like", "pixels", "x, y"):
        table.add_column(column, justify="right" if column in ("score", "pixels") else "left")
    for suspect in ranked[:NUM_SUSPECTS]:
        words: list[Text] = []
        for region in suspect.doubt.regions[:1]:
            named = classes.names[region.label], classes.names[region.predicted]
            words = list(map(cell, [*named, f"{region.pixels:,}", f"{region.box[0]}, {region.box[1]}"]))
        name = str(Path(*Path(suspect.name).parts[-2:]))  # whole paths would be cut off; doubt.json has them
        table.add_row(f"{suspect.doubt.score:.1f}", cell(name), *words)
    return table


def comparison_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> Table:
    """Build a table of cells for a notebook.

    Args:
        right: columns that are aligned to the right.
    """
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def print_ranking(finished: Sequence[tuple[Config, float, Path]]) -> None:
    """Print the jobs of a sweep by decreasing val mIoU, with the options that vary.

    Args:
        finished: configuration, val mIoU (fraction) and run folder of each job.
    """
    options = [flat_options(asdict(config)) for config, _, _ in finished]
    names = list(dict.fromkeys(name for job in options for name in job))
    varied = [name for name in names if len({str(job.get(name)) for job in options}) > 1]
    table = Table(title=f"{len(finished)} runs, highest val mIoU first")
    for column in ("mIoU %", *varied, "run folder"):
        table.add_column(cell(column), justify="right" if column == "mIoU %" else "left")
    order = sorted(range(len(finished)), key=lambda job: (isnan(finished[job][1]), -finished[job][1], job))
    for job in order:
        values = [str(options[job].get(name)) for name in varied]
        table.add_row(percent(finished[job][1], ""), *map(cell, values), cell(str(finished[job][2])))
    Console().print(table)


def print_report(report: DatasetReport) -> None:
    """Print the classes, sizes, warnings and errors of each split of a dataset."""
    Console().print(report_table(report))
    for split in report.splits:
        sizes = ", ".join(f"{w} x {h} ({n:,})" for (h, w), n in split.sizes.most_common(3))
        more = f" and {len(split.sizes) - 3:,} more sizes" if len(split.sizes) > 3 else ""
        usable = f"{len(split.readable):,} of {len(split.findings):,} images usable"
        say(f"{split.split}: {usable}{'; ' if sizes else ''}{sizes}{more}")
        if split.values and split.split == "train":
            low, high = (_bracketed(row, 3) for row in (split.values.low, split.values.high))
            inside = split.values_in_range
            print(
                f"train: the bands range from {low} to {high} of 1; "
                f"{'with the value range below and ' if inside else ''}without pretrained weights: "
                f"{normalization_options(inside or split.values)}"
            )
    for warning in report.warnings:
        say(f"warning: {warning}")
    errors = report.errors
    for error in errors[:NUM_ERRORS]:
        say(f"error: {error}")
    if len(errors) > NUM_ERRORS:
        say(f"and {len(errors) - NUM_ERRORS:,} more errors, see inspection.json")


def report_table(report: DatasetReport) -> Table:
    """Build the table of the pixels and images of each class, by split."""
    classes = report.splits[0].classes
    table = Table(title="pixels [%], and images with the class")
    table.add_column("id", justify="right")
    table.add_column("class")
    for split in report.splits:
        table.add_column(cell(split.split), justify="right")
        table.add_column("images", justify="right")
    for label, name in [*enumerate(classes.names), (classes.ignore_index, "(ignored)")]:
        cells = []
        for split in report.splits:
            cells += [f"{100 * split.pixels[label] / max(1, split.num_pixels):.2f}", f"{split.images[label]:,}"]
        table.add_row(str(label), cell(name), *cells)
    return table


def print_benchmark(found: Benchmark) -> None:
    """Print the size of a model, and speed and memory of training and prediction."""
    height, width = found.config.image_size
    backbone, decoder = found.model["backbone"], found.model["decoder"]
    depth = backbone.get("model") or backbone.get("depths", "")
    title = f"{backbone['name']} {depth}, {decoder['name']}, output stride {backbone['output_stride']}"
    table = Table(title=cell(f"{title}, {found.model['num_classes']} classes"))
    table.add_column("")
    for column in ("images/s", "ms a batch", "peak memory [GiB]"):
        table.add_column(column, justify="right")
    table.add_column("measured on")
    for name, cost in (("training", found.training), ("prediction", found.prediction)):
        memory = "n/a" if cost.memory is None else f"{cost.memory / GIB:.2f}"
        table.add_row(name, f"{cost.images_per_second:.2f}", f"{1000 * cost.seconds:.1f}", memory, cell(cost.runs_on))
    Console().print(table)
    size = f"{height} x {width}"
    say(f"{found.config.batch_size} images of {size} a batch, {found.config.precision}; {found.training.machine}")
    if found.prediction.machine != found.training.machine:
        say(f"prediction: {found.prediction.machine}")
    say(f"parameters: {found.parameters / 1e6:.2f} M")
    say(f"prediction of one image: {found.macs / 1e9:.2f} GMACs = {2 * found.macs / 1e9:.2f} GFLOPs")
    for kind in dict.fromkeys((found.training.memory_is, found.prediction.memory_is)):
        say(f"memory: {kind}")


def normalization_options(values: BandValues) -> str:
    """The options mean and std of a training, ready to paste."""
    return f'"mean={_bracketed(values.mean, 4)}" "std={_bracketed(values.divisors, 4)}"'


def _bracketed(values: Sequence[float], digits: int) -> str:
    """A list in the syntax of an option, without spaces."""
    return f"[{','.join(f'{value:.{digits}g}' for value in values)}]"
