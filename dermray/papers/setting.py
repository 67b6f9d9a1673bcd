"""Under what circumstances a number was measured, on the paper's side and on ours."""

from typing import Literal

from pydantic import Field

from dermray.config import Config


class Setting(Config):
    """What decides whether two numbers can be compared. None: not told, or it does not matter for this number."""

    images: int | None = Field(None, ge=1, description="that were measured: synthetic, tested or shown ones")
    of_real: int | None = Field(None, ge=1, description="real images that these were compared with")
    data: tuple[str, ...] | None = Field(None, description="sources of the real images, named as in an ingest config")
    split: Literal["random", "official", "grouped"] | None = Field(
        None,
        description="how training and test images were parted; random: image by image, so that lesions leak; grouped: "
        "by patient, lesion and near duplicates",
    )
    tested_on: Literal["real", "pool"] | None = Field(None, description="pool: synthetic images were tested on too")
    tested_data: tuple[str, ...] | None = Field(
        None, description="sources of the test images, where these are a data set of their own; named as in an ingest"
    )
    real: Literal["train", "held_out", "all"] | None = Field(None, description="which real images FID compares with")
    extractor: str | None = Field(None, description="kind of the network whose features FID compares")
    image_size: int | None = Field(None, ge=1, description="px")
    pairing: str | None = Field(None, description="which real image a synthetic one was compared with, pixel by pixel")
    generator: str | None = Field(None, description="family of the generator")
    backbone: str | None = Field(None, description="of the classifier: the beginning of its name in timm")
    threshold: Literal["not told", "0.5", "validation"] | None = Field(
        None, description="of the probability from which an image is called malignant: the usual, or chosen"
    )
    real_images: int | None = Field(None, ge=0, description="real images that a classifier was trained on")
    synthetic_images: int | None = Field(None, ge=0, description="synthetic images that a classifier was trained on")

    def over(self, other: "Setting") -> "Setting":
        """Both, this one's where both tell."""
        return other.model_copy(update=self.model_dump(exclude_none=True))
