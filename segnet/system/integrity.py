"""Integrity of model files: one error for every kind of damage, and zip checksums.

Checkpoints and weights of torch and programs of torch.export are zip archives. torch stores checksums in them but does
not verify them: a flipped bit would silently change predictions.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterator

from segnet.errors import CheckpointError, MachineError, SegnetError, first_line

ZIP_START = b"PK\x03\x04"
READ_BYTES = 2**20  # [bytes]
REASON_LENGTH = 100  # limit for a library's message [characters]


@contextlib.contextmanager
def refusing_damage(path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Turn every error of reading a file into a CheckpointError of one line.

    A file from elsewhere can make a reader fail in any way, so no list of exception types would be complete.

    Args:
        path: the file, for the message.
        problem: what is wrong with it, such as "is not a checkpoint, or damaged or cut off".

    Raises:
        CheckpointError: the file cannot be used.
        MachineError: the file does not fit into memory.
    """
    try:
        yield
    except (CheckpointError, MachineError):
        raise
    except SegnetError as error:  # raised by the checks of a configuration
        raise CheckpointError(f"{path}: {problem} ({reason_of(error)})") from None
    except FileNotFoundError as error:
        name = path if error.filename is None else os.fsdecode(error.filename)
        raise CheckpointError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the file in it") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or reason_of(error)})") from None
    except MemoryError:
        if _is_huge(path):
            raise MachineError(f"{path}: out of memory; use a machine with more of it") from None
        raise CheckpointError(f"{path}: {problem} (asks for more memory than there is)") from None
    except Exception as error:
        raise CheckpointError(f"{path}: {problem} ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """First line of an error's message, shortened; with its type if the message alone says little."""
    line = first_line(error)
    if isinstance(error, LookupError | AssertionError | AttributeError) and str(error):
        line = f"{type(error).__name__}: {line}"
    return line if len(line) <= REASON_LENGTH else f"{line[:REASON_LENGTH]}..."


def is_zip(path: str | os.PathLike[str]) -> bool:
    """Whether a file starts like a zip archive; torch decides by the same bytes."""
    with open(path, "rb") as file:
        return file.read(len(ZIP_START)) == ZIP_START


def require_zip_checksums(path: str | os.PathLike[str]) -> None:
    """Verify the CRC-32 of every member of an uncompressed zip archive; about 2 GB/s.

    Archives written with `torch.serialization.set_crc32_options(False)` have no checksums, and pass.

    Raises:
        CheckpointError: a member is damaged, or compressed, which torch's are not.
        zipfile.BadZipFile, OSError: the file is not a zip archive, or cannot be read.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            raise CheckpointError(f"{path}: compressed or encrypted after saving: unpack and save it again")
        if sum(member.file_size for member in members) > size:
            raise zipfile.BadZipFile("members overlap")
        if not any(member.CRC for member in members):
            return
        for member in members:
            try:
                with archive.open(member) as data:
                    while data.read(READ_BYTES):
                        pass
            except zipfile.BadZipFile:
                raise CheckpointError(
                    f"{path}: is damaged: checksum mismatch in {member.filename}; copy the file again"
                ) from None


def _is_huge(path: str | os.PathLike[str]) -> bool:
    """Whether a file is larger than a quarter of this machine's memory, and may really not fit."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return os.path.getsize(path) > total // 4
    except (OSError, ValueError, AttributeError):
        return False
