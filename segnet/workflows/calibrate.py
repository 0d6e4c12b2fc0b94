"""Store the temperature that an evaluation fitted in its checkpoint."""

import logging

from segnet.models.checkpoint import store_temperature
from segnet.training.metrics import percent
from segnet.workflows.evaluate import Results

log = logging.getLogger(__name__)


def store_fitted_temperature(results: Results, calibrate: str | None) -> None:
    """Write the fitted temperature into the evaluated checkpoint, and log the calibration error before and after.

    A split with too few labeled pixels is logged, and the checkpoint stays as it is.

    Args:
        calibrate: the kind of temperature that the evaluation was to fit; None: does nothing.

    Raises:
        CheckpointError: the checkpoint cannot be read. MachineError: it cannot be written, and is unchanged.
    """
    if calibrate is None:
        return
    record, fitted = results.fitted_record(), results.fitted
    if record is None or fitted is None:
        log.warning("%s is not calibrated: %s has too few labeled pixels", results.checkpoint, results.split)
        return
    store_temperature(results.checkpoint, record)
    log.info(
        "calibrated: temperature %s; expected calibration error of %s pixels of %s %s before, %s after",
        fitted.temperature,
        f"{fitted.num_pixels:,}",
        results.split,
        percent(fitted.before.ece),
        percent(fitted.after.ece),
    )
