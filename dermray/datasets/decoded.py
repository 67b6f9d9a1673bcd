"""What the decoder gives back, or why it cannot."""

from dataclasses import dataclass

from PIL import Image


class BadImage(ValueError):
    """Bytes that are no usable image; the message is the row's reason."""


class NoDecoder(BadImage):
    """Bytes that may well be an image, which only a package reads that is not installed."""


@dataclass(frozen=True)
class Decoded:
    """An image and how it came from its bytes."""

    image: Image.Image  # RGB, 8 bit, sRGB, upright, opaque; without metadata, so that no profile is applied twice
    format: str  # Pillow's name, or DICOM
    changes: tuple[str, ...] = ()  # by which the pixels differ from what another reader of the bytes may show
    remarks: tuple[str, ...] = ()  # what the bytes hold besides, which no reader shows

    @property
    def modification(self) -> str | None:
        """All that was changed or left out, in words; None if nothing."""
        return "; ".join((*self.changes, *self.remarks)) or None
