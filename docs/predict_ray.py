"""Predict the masks of a large folder of images on a cluster with Ray Data. Copy this file and change it.

    pip install "ray[data]"                  # beside segnet, which is installed from a clone or a wheel
    python predict_ray.py best.ckpt photos/ masks/ [number of GPUs; 0: CPUs only]

Each worker loads the model once. Ray starts workers on all machines of its cluster, restarts those that die, and passes
their images to others. All machines must see the three paths. Without Ray, such as in a job array, use
`segnet predict photos --shard 1/8`.
"""

import sys
from pathlib import Path
from typing import Any

import ray

from segnet.errors import DataError
from segnet.images.files import write_mask
from segnet.prediction.inputs import Collector, result_names


class Segment:
    """A worker that holds the model.

    Args:
        checkpoint: path of a segnet checkpoint.
        folder: where the masks are written.
    """

    def __init__(self, checkpoint: str, folder: str) -> None:
        from segnet.inference.predictor import Predictor  # only workers need torch

        self._predictor = Predictor(checkpoint)
        self._folder = Path(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Segment the image of a row ("path", "name") and write its mask; return the row with its error, if any."""
        from segnet.images.bands import read_bands

        try:
            result = self._predictor(read_bands(row["path"], self._predictor.channels))
        except DataError as error:  # a damaged image does not end the job
            return {**row, "error": str(error)}
        write_mask(self._folder / f"{row['name']}_mask.png", result.mask, result.classes.palette)
        return {**row, "error": ""}


def main(checkpoint: str, images: str, masks: str, num_gpus: int = 0) -> int:
    """Segment all images below a folder; return exit code 6 if some failed."""
    collector = Collector()
    collector.add(str(Path(images).absolute()))
    names = result_names(collector.inputs)
    rows = [
        {"path": str(item.path), "name": name}
        for item, name in zip(collector.inputs, names, strict=True)
        if item.path and item.kind != "video" and not (Path(masks) / f"{name}_mask.png").exists()  # skip existing masks
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
    print(f"{len(rows) - len(failed)} of {len(rows)} images -> {masks}")
    return 6 if failed else 0


if __name__ == "__main__":
    ray.init()
    sys.exit(main(*sys.argv[1:4], *map(int, sys.argv[4:5])))
