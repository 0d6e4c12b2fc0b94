"""The proof of an export finds an engine whose results depend on the batch."""

import pytest
from exports import write_checkpoint

from segnet.errors import CheckpointError
from segnet.exporters import metadata_of
from segnet.models.checkpoint import load_checkpoint
from segnet.workflows.export_proof import batched_images, require_equal, require_same_in_batches


@pytest.fixture
def model(tmp_path):
    model, classes = load_checkpoint(write_checkpoint(tmp_path / "a.ckpt"))
    return model, metadata_of(model, classes, "uint8", "logits", "")


def last_one_wrong(model, batch):
    """An engine that gives the last image of such a batch other classes."""

    def run(images):
        logits = model(images).detach()
        if len(images) == batch:
            logits[-1] = logits[-1].flip(0)
        return logits

    return run


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_engine_that_fails_in_one_batch_is_refused(model, batch):
    lines = []
    with pytest.raises(CheckpointError, match=rf"differ from the checkpoint's \({batch} x .* nothing was written"):
        require_equal(model[0], last_one_wrong(model[0], batch), model[1], lines.append)
    assert lines[-1].agreement < 0.9
    assert all(line.agreement == 1 for line in lines[:-1])


def test_a_model_equals_itself_in_all_batches(model):
    lines = []
    require_equal(model[0], model[0], model[1], lines.append)
    assert [line.size[0] for line in lines] == [1, 1, 1, 1, 1, 2, 5]
    assert min(line.agreement for line in lines) > 0.9999


@pytest.mark.parametrize("batch", [2, 5])
def test_a_quantized_engine_is_compared_with_itself(model, batch):
    require_same_in_batches(lambda images: model[0](images).detach(), model[1])
    with pytest.raises(CheckpointError, match=rf"for an image depend on its batch \({batch} x 33 x 47: "):
        require_same_in_batches(last_one_wrong(model[0], batch), model[1])


def test_equal_images_have_several_places_in_a_batch():
    one, two, five = batched_images(3)
    assert (len(one), len(two), len(five)) == (1, 2, 5)
    assert (one[0] == two[0]).all()
    assert (two[0] == two[1]).all()
    assert (five[0] == five[4]).all()
    assert not (five[0] == five[1]).all()
