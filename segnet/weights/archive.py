"""Read weights from an archive in memory: PaddleSeg publishes model.pdparams in a .tar.gz."""

import io
import tarfile
from pathlib import Path
from typing import BinaryIO

from segnet.errors import CheckpointError
from segnet.system.integrity import refusing_damage

MAX_UNPACKED = 4 * 2**30  # unpacked size up to the end of the weights [bytes]
ARCHIVE_CHUNK = 2**20  # [bytes]


def pdparams_in(path: Path) -> BinaryIO:
    """Read the first .pdparams file of a .tar.gz or .tar into memory.

    Names, links and permissions in the archive are ignored, which prevents path traversal.

    Raises:
        CheckpointError: it is damaged, unpacks to more than 4 GiB, or contains no .pdparams file.
    """
    with (
        refusing_damage(path, "is a damaged archive: unpack it and use the file with the weights"),
        tarfile.open(path, "r|*") as archive,
    ):
        for member in archive:  # streamed: members after the weights are not unpacked
            if member.offset_data + member.size > MAX_UNPACKED:
                raise CheckpointError(f"{path}: unpacks to more than {MAX_UNPACKED >> 30} GiB, too large for weights")
            if member.isreg() and member.name.endswith(".pdparams"):
                content = archive.extractfile(member)
                assert content is not None
                unpacked = io.BytesIO()
                while chunk := content.read(ARCHIVE_CHUNK):
                    unpacked.write(chunk)
                unpacked.seek(0)
                return unpacked
    raise CheckpointError(f"{path}: contains no .pdparams file: unpack it and use the file with the weights")
