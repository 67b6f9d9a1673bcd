"""Colours to sRGB by the profile that came with an image."""

import io
import re
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

NEAR_SRGB = 2  # of 255: sRGB profiles differ by as much among themselves


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None, str | None]:
    """An image of mode L, RGB or CMYK in sRGB, by its profile if it has a usable one; in words how its colours were
    changed, and what was made of a profile that is of no use."""
    transform, note = _transform(profile, image.mode) if profile else (None, None)
    if transform is None and image.mode == "RGB":
        return image, None, note  # as it is: a copy would take a third of a photograph's time
    if transform is None:
        return image.convert("RGB"), "CMYK to RGB" if image.mode == "CMYK" else None, note
    if image.mode == "L" and transform.input_mode == "RGB":
        image = image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted, note, None


@lru_cache(maxsize=64)  # a data set has few cameras, and a transform takes longer to build than a photograph to convert
def _transform(profile: bytes, mode: str) -> tuple[Any, str | None]:
    """What takes colours of `mode` (L, RGB or CMYK) to sRGB, and its name; None if they are sRGB, or nobody can say."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space != {"L": "GRAY"}.get(mode, mode) and not (space == "RGB" and mode == "L"):
            return None, f"icc profile for {space} ignored"
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            "L" if space == "GRAY" else space,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode != "CMYK" and _changes_little(transform):
            return None, None
        name = re.sub(r"[\s;\0]+", " ", ImageCms.getProfileDescription(source)).strip()[:60]
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError, AttributeError):
        return None, "damaged icc profile ignored"
    return transform, f"icc {name or 'profile'} to sRGB"


def _changes_little(transform: Any) -> bool:
    """Whether the colours of a 17 x 17 x 17 grid, or all greys, stay where they are."""
    if transform.input_mode == "L":
        grey = np.arange(256, dtype=np.uint8)[None]
        before, expected = Image.fromarray(grey), np.repeat(grey[..., None], 3, axis=2)
    else:
        steps = np.linspace(0, 255, 17).round().astype(np.uint8)
        expected = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, 289, 3)
        before = Image.fromarray(expected)
    after = np.asarray(transform.apply(before))
    return bool(np.abs(after.astype(int) - expected).max() <= NEAR_SRGB)
