"""Files of images without masks, from the embedded dataset."""

from PIL import Image

from segnet.data.datasets.shapes import Shapes


def write_photos(folder, count, size=(40, 32), seed=7):
    """Write `count` images that are neither train nor val images of a dataset with seed 0; return the folder."""
    folder.mkdir(parents=True)
    images = Shapes("train", num_train=count, size=size, seed=seed)
    for index in range(count):
        Image.fromarray(images.load(index).image).save(folder / f"{index:02d}.png")
    return folder
