"""The gate of an earlier drawing, for another generator that learned from the same images."""

from dermray.manifest import Result
from dermray.synthesis.gate.building import training_images
from dermray.synthesis.gate.calibration import read_calibration
from dermray.synthesis.gate.index import read_about
from dermray.synthesis.gate.settings import GateConfig


def settings_of(earlier: Result) -> GateConfig:
    """What the gate of a drawing was told."""
    return GateConfig.model_validate(earlier.manifest.config["gate"])


def require_same(earlier: Result, gate: str, generator: Result, rows: Result) -> None:
    """Refuse a gate that a drawing would not have made itself.

    Args:
        gate: of the earlier drawing, its URI.

    Raises:
        FileNotFoundError, ValueError: it is not there, was calibrated with other rows, or has other images.
    """
    if earlier.manifest.inputs["rows"] != rows.manifest.key:
        raise ValueError(
            f"gate_of={earlier.uri}: calibrated with other rows (key {earlier.manifest.inputs['rows']}, these are "
            f"{rows.manifest.key}); leave gate_of out, and the drawing makes its own"
        )
    if (learned_from := read_about(gate).training_images) is None:
        raise ValueError(
            f"gate_of={earlier.uri}: an earlier version of dermray made that gate, which does not say of which images; "
            "leave gate_of out, and the drawing makes its own"
        )
    if learned_from != (own := training_images(generator)):
        raise ValueError(
            f"gate_of={earlier.uri}: its generator learned from other images, or draws another size (hash "
            f"{learned_from}, and {generator.uri} has {own}); leave gate_of out, and the drawing makes its own"
        )
    read_calibration(gate)
