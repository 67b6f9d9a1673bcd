from pathlib import Path

import numpy as np
import pytest

from dermray.provenance import text
from tests.provenance.certificates import Signed, signer

SAID = text.said(
    family="pixel_dermdit", generator="0123456789ab", licence="CC0-1.0", prompt="malignant: red.", seed=3,
    guidance_scale=2.0, steps=12,
)  # fmt: skip


@pytest.fixture(scope="session")
def signed_by(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A signer's files, which fit."""
    return signer(Path(tmp_path_factory.mktemp("signer")))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def png(pixels: np.ndarray) -> bytes:
    return text.png(pixels, SAID)
