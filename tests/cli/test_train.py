"""`segnet train` from the command line: a sweep ends with a table of its runs."""

import pytest

from segnet.cli import tables, train
from segnet.cli.train import with_named_backbone
from segnet.config import Config
from segnet.training.budget import backbone_for


def test_a_sweep_ends_with_a_ranking_of_its_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = [
        "dataset.num_train=4",
        "dataset.num_val=2",
        "dataset.size=[32,32]",
        "data.crop_size=32",
        "data.batch_size=2",
        "data.num_workers=0",
        "backbone.base_channels=8",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        f"hydra.sweep.dir={tmp_path}",
    ]
    ranked = []
    original = tables.print_ranking
    monkeypatch.setattr(tables, "print_ranking", lambda jobs: (ranked.extend(jobs), original(jobs)))
    assert train.main(["--multirun", "seed=3,4", *options]) == 0
    table = capsys.readouterr().out.split("2 runs, highest val mIoU first")[1]
    assert "seed" in table
    assert "optim.lr" not in table  # the same in both
    best, worst = sorted(ranked, key=lambda job: -job[1])
    assert {best[0].seed, worst[0].seed} == {3, 4}
    assert table.index(f"{100 * best[1]:.1f}") <= table.index(f"{100 * worst[1]:.1f}")
    assert (tmp_path / "1" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    ("override", "is_kept"),
    [
        ("backbone=resnet18_vd", True),
        ("++backbone.depths=[2,2,2,2]", True),
        ("+experiment=mine", True),
        ("backbone_weights=null", False),
        ("dataset.root=backbone", False),
    ],
)
def test_a_budget_keeps_a_named_backbone(override, is_kept):
    config = with_named_backbone(Config(budget="30min"), ["seed=3", override])
    assert (backbone_for(config, "cuda") == config.backbone) is is_kept
    assert with_named_backbone(Config(), [override]) == Config()
