"""What the gate may be told. Apart from what looks, which takes seconds to import."""

from pydantic import Field

from dermray.config import Config
from dermray.features.settings import ExtractorConfig


class GateConfig(Config):
    """How often it may be wrong, and what it looks with."""

    false_rate: float = Field(
        0.01, ge=0, le=0.2, description="share of real, unseen images that it may call copies; 0 rejects nothing"
    )
    extractor: ExtractorConfig = Field(
        ExtractorConfig(), description="of the embedding; kind judge is a small network that learns what copies are"
    )
    training_steps: int = Field(200, ge=10, description="of that small network, a fifth of which it warms up")
    calibration_images: int = Field(
        2000, ge=20, description="held-out real images that set the thresholds; half as many more check them"
    )
    planted: int = Field(60, ge=1, description="training images that are copied in each way to measure the recall")
