"""A warning about results of other options in the files that hold all images of a folder."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from segnet.prediction.records import FOLDER_FILES, SHARES, Records


def mixed_options(records: Records, kinds: Sequence[str], job: Mapping[str, Any], names: Collection[str]) -> str:
    """Return a warning if a file for all images would mix results of different options; empty otherwise.

    Args:
        records: the records of the output folder.
        kinds: kinds with one file for all images.
        job: model and options of this run.
        names: names of the results of this run.
    """
    now = json.loads(json.dumps(job))
    for name, record in records.done() if kinds else ():
        was = record.get("job", {})
        shared = [kind for kind in kinds if kind in record["saved"]]
        changed = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
        if shared and changed and name not in names:
            path = records.folder / FOLDER_FILES.get(shared[0], (SHARES,))[0]
            return (
                f"segnet: warning: {path}: also holds results with other options ({', '.join(changed)}), such as "
                f"'{name}': use another --output FOLDER to keep them apart"
            )
    return ""
