"""Tables print class names literally."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segnet.classes import Classes
from segnet.cli.tables import print_scores
from segnet.training.boundary_metrics import BoundaryScores
from segnet.training.metrics import Scores


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("[/x]", "[/x]"),
        ("road [paved]", "road [paved]"),
        ("[red]road", "[red]road"),
        (":warning:", ":warning:"),
        ("<b>|`=cmd", "<b>|`=cmd"),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
    ],
)
def test_class_names_are_printed_literally(name, printed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    scores = Scores.from_matrix(torch.tensor([[3, 1], [1, 3]]))
    results = SimpleNamespace(
        scores=scores,
        classes=Classes.create([name, "b"]),
        split="[/val]",
        num_images=3,
        checkpoints=(Path("[x].ckpt"),),
        boundary=BoundaryScores(0.02, [0.111, float("nan")], [0.222, 0.333]),
        at_half=None,
        refused=0,
        confidence=None,
    )
    output = io.StringIO()
    with redirect_stdout(output):
        print_scores(results)
    assert printed in output.getvalue()
    assert re.search(r"60\.0 .* 75\.0 .* 75\.0 .* 75\.0 .* 4 ", output.getvalue())
    assert "mean Dice 75.0 %" in output.getvalue()
    assert re.search(r"b .* n/a .* 33\.3 ", output.getvalue())
    assert "up to 0.02 of the image diagonal" in output.getvalue()
    assert "Boundary mIoU 11.1 %, trimap mIoU 27.8 %" in output.getvalue()
    assert "[/val]: 3 images, [x].ckpt" in output.getvalue()
