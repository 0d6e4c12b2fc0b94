"""Tables print class names literally."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segnet.classes import Classes
from segnet.cli.tables import print_scores
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
        scores=scores, classes=Classes.create([name, "b"]), split="[/val]", num_images=3, checkpoint=Path("[x].ckpt")
    )
    output = io.StringIO()
    with redirect_stdout(output):
        print_scores(results)
    assert printed in output.getvalue()
    assert "[/val]: 3 images, [x].ckpt" in output.getvalue()
