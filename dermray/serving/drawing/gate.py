"""The memorisation gate on what is served: as `generate` made it, from the same files."""

import numpy as np
import torch

from dermray import manifest, storage
from dermray.features.extractor import check
from dermray.features.settings import ExtractorConfig
from dermray.synthesis.gate.calibration import read_calibration
from dermray.synthesis.gate.gate import Gate as SynthesisGate
from dermray.synthesis.gate.index import read_about
from dermray.synthesis.gate.stage import FOLDER


class Gate:
    """Refuses what is nearer to a training image than real images are. Replicas of a node share its files' memory."""

    def __init__(self, uri: str, device: str = "cpu") -> None:
        self._gate = SynthesisGate(uri, device)

    def distance(self, pixels: np.ndarray) -> float:
        """Of an image (H, W, 3) uint8 to the nearest training image, as a share of what the gate allows."""
        [seen] = self._gate.seen(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
        return self._gate.closeness(seen)

    def refuses(self, distance: float) -> bool:
        """As `generate` rejects rows."""
        return distance < 1


def open_gate(generated: str, version: str, device: str = "cpu") -> Gate:
    """The gate of a generate stage's result; arguments and errors as `gate_of` has them."""
    return Gate(gate_of(generated, version), device)


def gate_of(generated: str, version: str) -> str:
    """Where the gate of a generate stage's result lies, by its small files: it can be opened.

    Args:
        version: of the generator that is served, which must be the one that drew there.

    Raises:
        FileNotFoundError, ValueError, ImportError: no such result, another generator's, an earlier version's, one that
            rejects nothing, or one whose files or extractor's weights are gone.
    """
    drawn = manifest.read(generated, "generate")
    drew = drawn.manifest.inputs["generator"]
    if drew != version:
        raise ValueError(
            f"gate={generated}: drawn by the generator with key {drew}, and the served one is {version}; "
            "give the result of a generate stage that used the served generator"
        )
    made = drawn.manifest.metrics["gate"]
    if not isinstance(made, dict):
        raise ValueError(
            f"gate={generated}: made by an earlier version of dermray, without an index; run the generate stage again, "
            "with another output"
        )
    if not made["calibration"]["false_rate"]:
        raise ValueError(f"gate={generated}: made with false_rate=0, and so rejects nothing; leave gate out")
    place = storage.join(drawn.data, FOLDER)
    about = read_about(place)
    read_calibration(place)
    check(ExtractorConfig.model_validate(about.extractor))
    return place
