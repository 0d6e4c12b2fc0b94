"""Decode the first rows of a JPEG file: the file is shortened to them by the height in its header.

The decoder then ends after these rows. It needs the row below them too, because it smooths colors across rows; the rows
above do not depend on it (libjpeg-turbo, jdsample.c). Progressive files come in several passes over the whole image and
cannot be shortened.
"""

import struct
from dataclasses import dataclass

SEQUENTIAL = (0xC0, 0xC1)  # SOF0 and SOF1, ITU-T T.81, table B.1
OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF2 to SOF15
START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
MARGIN = 32  # rows decoded below those wanted; the largest unit of a JPEG file has 32 [pixels]


@dataclass(frozen=True, slots=True)
class JpegRows:
    """A JPEG file that can be shortened.

    Attributes:
        data: the file.
        height, width: size as stored [pixels].
        place: position of the height in the file [bytes].
    """

    data: bytes
    height: int
    width: int
    place: int

    def first(self, rows: int) -> bytes:
        """Return a JPEG file with at least the first `rows` rows."""
        height = min(self.height, rows + MARGIN)
        return b"".join([self.data[: self.place], struct.pack(">H", height), self.data[self.place + 2 :]])


def jpeg_rows(data: bytes) -> JpegRows | None:
    """Parse a JPEG file of 8 bits; None if it cannot be shortened, is damaged or cut off."""
    place, frame = 2, None
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker, length = struct.unpack(">BH", data[place + 1 : place + 4])
        if marker in OTHER_FRAMES:
            return None
        if marker in SEQUENTIAL:
            precision, height, width, num_components = struct.unpack(">BHHB", data[place + 4 : place + 10])
            if frame or precision != 8 or num_components not in (1, 3) or not height or not width:
                return None
            frame = JpegRows(data, height, width, place + 5), num_components
        if marker == START_OF_SCAN:
            is_whole = frame is not None and data[place + 4] == frame[1] and data.rfind(END_OF_IMAGE, place) > 0
            return frame[0] if frame and is_whole else None
        place += 2 + length
    return None
