"""What the images of a run must fulfill besides being readable: their channels and their number."""

from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, DataError, counted


def require_model_channels(samples: SegmentationDataset, channels: int) -> None:
    """Check that images have the channels of the model.

    Raises:
        ConfigError: they have others.
    """
    if samples.channels != channels:
        raise ConfigError(
            f"the dataset's images have {samples.channels} channels, but the model takes {channels}: set "
            "dataset.channels and backbone.in_channels alike"
        )


def require_enough_images(num_train: int, num_val: int, batch_size: int, num_processes: int) -> None:
    """Check that there is a batch of train images, and a val image, for each process.

    Raises:
        DataError: there are fewer.
    """
    needed = batch_size * num_processes
    if num_train < needed:
        raise DataError(
            f"the train split has {counted(num_train, 'image')}, fewer than one batch of {needed}: lower "
            "data.batch_size or add images"
        )
    if num_val < num_processes:
        raise DataError(
            f"the val split has {counted(num_val, 'image')}, fewer than the {num_processes} processes that share "
            "them: lower trainer.devices or add images"
        )
