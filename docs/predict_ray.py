"""Masks of a large folder of pictures, by a cluster: Ray Data maps segnet.Predictor over it. To be copied and changed.

    pip install segnet "ray[data]"
    python predict_ray.py best.ckpt photos/ masks/ [number of GPUs, 0: CPUs alone]

Each worker loads the model once; Ray starts workers on all machines of the cluster that it is connected to, restarts
those that die, and hands their pictures to others. All machines must see the three paths. For machines without Ray,
such as a job array, `segnet predict photos --shard 1/8` divides the same work.
"""

import sys
from pathlib import Path
from typing import Any

import ray

from segnet.errors import DataError
from segnet.images.files import write_mask
from segnet.prediction.inputs import Collector, result_names


class Segment:
    """A worker: a model, loaded once.

    Args:
        checkpoint: path of a segnet checkpoint.
        folder: of the masks.
    """

    def __init__(self, checkpoint: str, folder: str) -> None:
        from segnet.inference.predictor import Predictor  # here, not where the work is only handed out

        self._predictor = Predictor(checkpoint)
        self._folder = Path(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Segments the picture of a row ("path", "name") and writes its mask; gives the row with what came of it."""
        from segnet.images.bands import read_bands

        try:
            result = self._predictor(read_bands(row["path"], self._predictor.channels))
        except DataError as error:  # a damaged picture does not end the job
            return {**row, "error": str(error)}
        write_mask(self._folder / f"{row['name']}_mask.png", result.mask, result.classes.palette)
        return {**row, "error": ""}


def main(checkpoint: str, pictures: str, masks: str, num_gpus: int = 0) -> int:
    """Segments all pictures below a folder; exit code 6 where some failed."""
    collector = Collector()
    collector.add(str(Path(pictures).absolute()))
    names = result_names(collector.inputs)
    rows = [
        {"path": str(item.path), "name": name}
        for item, name in zip(collector.inputs, names, strict=True)
        if item.kind == "picture" and not (Path(masks) / f"{name}_mask.png").exists()  # goes on where it stopped
    ]
    done = ray.data.from_items(rows).map(
        Segment,
        fn_constructor_args=(str(Path(checkpoint).absolute()), str(Path(masks).absolute())),
        compute=ray.data.ActorPoolStrategy(size=num_gpus or max(1, int(ray.cluster_resources()["CPU"]) // 4)),
        num_gpus=1 if num_gpus else 0,
        num_cpus=None if num_gpus else 4,
    )
    failed = [row for row in done.iter_rows() if row["error"]]
    for row in failed:
        print(f"segnet: error: {row['error']}", file=sys.stderr)
    print(f"{len(rows) - len(failed)} of {len(rows)} pictures -> {masks}")
    return 6 if failed else 0


if __name__ == "__main__":
    ray.init()
    sys.exit(main(*sys.argv[1:4], *map(int, sys.argv[4:5])))
