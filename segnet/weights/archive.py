"""Weights inside an archive: PaddleSeg publishes model.pdparams in a .tar.gz. Nothing is unpacked to the disk."""

import io
import tarfile
from pathlib import Path
from typing import BinaryIO

from segnet.errors import CheckpointError
from segnet.system.integrity import refusing_damage

MAX_UNPACKED = 4 * 2**30  # of the archive, up to and including the weights [bytes]
ARCHIVE_CHUNK = 2**20  # [bytes]


def pdparams_in(path: Path) -> BinaryIO:
    """The first .pdparams file of a .tar.gz or .tar, in memory.

    Names, links and permissions in the archive are not used, so that none can lead out of it.

    Raises:
        CheckpointError: it is damaged, unpacks to more than 4 GiB, or holds no .pdparams file.
    """
    with (
        refusing_damage(path, "is a damaged archive: unpack it, and name the file with the weights"),
        tarfile.open(path, "r|*") as archive,
    ):
        for member in archive:  # streamed: what follows the weights is not unpacked
            if member.offset_data + member.size > MAX_UNPACKED:
                raise CheckpointError(f"{path}: unpacks to more than {MAX_UNPACKED >> 30} GiB: these are no weights")
            if member.isreg() and member.name.endswith(".pdparams"):
                content = archive.extractfile(member)
                assert content is not None
                unpacked = io.BytesIO()
                while chunk := content.read(ARCHIVE_CHUNK):
                    unpacked.write(chunk)
                unpacked.seek(0)
                return unpacked
    raise CheckpointError(f"{path}: holds no .pdparams file: unpack it, and name the file that holds the weights")
