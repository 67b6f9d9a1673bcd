"""Images that keep their shape: for each resolution several shapes of about its area, and a bucket for each of them.

An image goes to the shape whose ratio of width to height is nearest its own, is resized until it covers it, and loses
what hangs over on two sides: some per cent, where a square of a 4 : 3 photograph loses a quarter.
"""

import math
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from dermray.config import Config, ConfigError

Shape = tuple[int, int]  # width, height in px


class AspectConfig(Config):
    """Which shapes there are, and how an image is brought to one."""

    multiple: int = Field(64, ge=16, multiple_of=16, description="px; sides are multiples of it")
    widest: float = Field(2.0, gt=1, description="the longer side over the shorter, at most; others lose more")
    fit: Literal["crop", "stretch"] = Field(
        "crop", description="crop: the middle; stretch: all of it, a little out of proportion"
    )


class Cut(NamedTuple):
    """An image in its shape."""

    pixels: np.ndarray  # (3, height, width) uint8
    kept: float  # share of the image that is left
    enlarged: bool  # whether a side was shorter than the shape's


def shapes(resolution: int, config: AspectConfig) -> list[Shape]:
    """All shapes of about `resolution` squared px, from the tallest to the widest."""
    step, area = config.multiple, resolution**2
    found = {(resolution, resolution)} if resolution % step == 0 else set()
    for width in range(step, int(resolution * math.sqrt(config.widest)) + 1, step):
        height = max(step, step * round(area / width / step))
        if height <= width * config.widest and width <= height * config.widest:
            found |= {(width, height), (height, width)}
    return sorted(found, key=lambda shape: shape[0] / shape[1])


def check_aspects(resolutions: list[int], config: AspectConfig, patch: int) -> None:
    """Raises:
    ConfigError: sides that the family's patches do not divide, or no shape but the square.
    """
    if config.multiple % patch:
        raise ConfigError(
            f"aspects.multiple={config.multiple}: expected a multiple of {patch} px, which this family's sides are"
        )
    for resolution in resolutions:
        if len(shapes(resolution, config)) < 2:
            raise ConfigError(
                f"aspects.multiple={config.multiple}: at {resolution} px no shape but the square is left; give a "
                "smaller multiple, a larger size, or leave aspects out"
            )


@lru_cache(maxsize=64)
def _grid(resolution: int, multiple: int, widest: float) -> tuple[list[Shape], np.ndarray]:
    found = shapes(resolution, AspectConfig(multiple=multiple, widest=widest))
    return found, np.log([width / height for width, height in found])


def shape_for(size: Shape, resolutions: list[int], config: AspectConfig) -> Shape:
    """Of an image of this width and height: that of the largest resolution whose nearest shape it covers; of the
    smallest if it covers none."""
    width, height = size
    for resolution in sorted(resolutions, reverse=True):
        found, ratios = _grid(resolution, config.multiple, config.widest)
        shape = found[int(np.abs(ratios - math.log(width / height)).argmin())]
        if width >= shape[0] and height >= shape[1]:
            break
    return shape


def cut(image: Image.Image, shape: Shape, config: AspectConfig) -> Cut:
    """The middle of an image, or all of it, resized to a shape with antialiasing."""
    scale = max(shape[0] / image.width, shape[1] / image.height)
    width, height = float(image.width), float(image.height)
    if config.fit == "crop":
        width, height = min(width, shape[0] / scale), min(height, shape[1] / scale)  # which rounding may exceed
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    resized = image.resize(shape, Image.Resampling.BICUBIC, box=box)
    pixels = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
    return Cut(pixels, width * height / (image.width * image.height), scale > 1)


def name_of(shape: Shape) -> str:
    """Of a bucket."""
    return f"{shape[0]}x{shape[1]}"


def sides(size: int | str) -> Shape:
    """Width and height of a bucket's images: a number is the side of squares."""
    if str(size).isdigit():
        return int(size), int(size)
    width, _, height = str(size).partition("x")
    return int(width), int(height)


def summed(lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What became of the images by shape, of the lines of `write_shards`."""
    by_shape: dict[str, dict[str, float]] = {}
    for line in lines:
        of = by_shape.setdefault(line["size"], {"images": 0, "kept": 0.0, "least_kept": 1.0, "enlarged": 0})
        of["kept"] = (of["kept"] * of["images"] + line["kept"] * line["rows"]) / (of["images"] + line["rows"])
        of["images"] += line["rows"]
        of["least_kept"] = min(of["least_kept"], line["least_kept"])
        of["enlarged"] += line["enlarged"]
    return dict(sorted(by_shape.items(), key=lambda item: sides(item[0])))


def told_of(crops: dict[str, dict[str, float]]) -> str:
    """For people."""
    images = sum(of["images"] for of in crops.values())
    kept = sum(of["kept"] * of["images"] for of in crops.values()) / images
    least = min(of["least_kept"] for of in crops.values())
    enlarged = int(sum(of["enlarged"] for of in crops.values()))
    return (
        f"{len(crops)} shapes; {100 * kept:.1f} % of an image is kept on average, {100 * least:.1f} % at least; "
        f"{enlarged} of {int(images)} images enlarged"
    )
