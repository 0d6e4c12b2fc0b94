"""The functions of the public API: `segnet.train`, `segnet.crossval`, `segnet.evaluate`, `segnet.compare`,
`segnet.average`, `segnet.doubt`, `segnet.rank`, `segnet.inspect` and `segnet.export`.

They match the verbs of the command line, with the same options, defaults and run folders. Options are given as

* strings, as on the command line: ``segnet.train("dataset=folder", "dataset.root=photos")``;
* keywords with two underscores for the dot: ``segnet.train(dataset="folder", dataset__root="photos")``;
* a `Config`, and keywords for changes: ``segnet.train(config, optim__lr=0.02)``.

Strings and keywords can be combined; keywords take precedence. User errors are subclasses of
`segnet.errors.SegnetError`.
"""

from segnet.api.datasets import Inspection, inspect
from segnet.api.exporting import Exported, export
from segnet.api.measuring import Compared, DoubtRanking, Evaluation, average, compare, doubt, evaluate, rank
from segnet.api.training import CrossValidation, Run, crossval, train
from segnet.workflows.average import Average
from segnet.workflows.rank_files import Ranking

__all__ = [
    "Average",
    "Compared",
    "CrossValidation",
    "DoubtRanking",
    "Evaluation",
    "Exported",
    "Inspection",
    "Ranking",
    "Run",
    "average",
    "compare",
    "crossval",
    "doubt",
    "evaluate",
    "export",
    "inspect",
    "rank",
    "train",
]
