"""The eight ways in which a square lies: of a perceptual hash and a thumbnail, without the image.

Bit (u, v) of the hash is the sign of a cosine of frequency u down and v across. Mirroring an image changes the sign of
those that are odd across, upsetting it of those that are odd down, and transposing it swaps u and v.
"""

from typing import NamedTuple

import numpy as np

SIDE = 8  # of the hash and of the thumbnail; the first bit of a hash, the highest, is frequency (0, 0)
ODD_ACROSS, ODD_DOWN = np.uint64(0x5555_5555_5555_5555), np.uint64(0x00FF_00FF_00FF_00FF)
# The halves of ever larger squares of bits that change places (Warren, "Hacker's Delight", 7-3): shift, mask.
SWAPS = (7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0x0000_0000_F0F0_F0F0)


class Turn(NamedTuple):
    """Transposed first, then mirrored left to right, then upset."""

    transposed: bool
    mirrored: bool
    upset: bool

    def hashes(self, values: np.ndarray) -> np.ndarray:
        """Of the turned images, from theirs: (N,) uint64."""
        values = _transposed(values) if self.transposed else values
        values = values ^ ODD_ACROSS if self.mirrored else values
        return values ^ ODD_DOWN if self.upset else values

    def thumbnails(self, flat: np.ndarray) -> np.ndarray:
        """Of the turned images, from theirs: (N, 192) uint8."""
        pictures = flat.reshape(-1, SIDE, SIDE, 3)
        pictures = pictures.transpose(0, 2, 1, 3) if self.transposed else pictures
        pictures = pictures[:, :, ::-1] if self.mirrored else pictures
        return (pictures[:, ::-1] if self.upset else pictures).reshape(flat.shape)


AS_IT_IS = Turn(False, False, False)
# A quarter turn back brings b to a where a quarter turn brings a to b, so that one of the two is enough.
TURNS = (
    AS_IT_IS, Turn(False, True, False), Turn(False, False, True), Turn(False, True, True),
    Turn(True, False, False), Turn(True, True, True), Turn(True, False, True),
)  # fmt: skip


def _transposed(values: np.ndarray) -> np.ndarray:
    for shift, mask in SWAPS:
        by = np.uint64(shift)
        moved = (values ^ (values >> by)) & np.uint64(mask)
        values = values ^ moved ^ (moved << by)
    return values
