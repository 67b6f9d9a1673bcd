"""The gate as a part of the synthesis stage: made before anything is drawn, shown afterwards."""

from dataclasses import dataclass
from typing import Any

from dermray import storage
from dermray.features.extractor import settled
from dermray.manifest import Result
from dermray.progress import busy, watched
from dermray.row_files import RowFiles
from dermray.synthesis.gate import page, shared
from dermray.synthesis.gate.building import build
from dermray.synthesis.gate.calibrating import calibrate
from dermray.synthesis.gate.calibration import Calibration
from dermray.synthesis.gate.index import About
from dermray.synthesis.settings import SynthesisConfig

FOLDER = "gate"  # below the stage's data


@dataclass(frozen=True)
class MadeGate:
    """A gate that is ready to be opened."""

    uri: str
    about: About
    calibration: Calibration

    def summary(self) -> dict[str, Any]:
        """For the manifest."""
        return self.about.model_dump() | {"bytes": size_of(self.uri)} | {"calibration": self.calibration.model_dump()}


def check(config: SynthesisConfig, generator: Result, rows: Result, earlier: Result | None) -> SynthesisConfig:
    """The config with the gate and its extractor settled, before anything expensive.

    Args:
        earlier: the drawing whose gate is taken.

    Raises:
        FileNotFoundError, ValueError, ImportError: the extractor is not there, or is another network; or the earlier
            gate is not one for these images.
    """
    if earlier:
        shared.require_same(earlier, storage.join(earlier.data, FOLDER), generator, rows)
        config = config.model_copy(update={"gate": shared.settings_of(earlier)})
    extractor = settled(config.gate.extractor)
    return config.model_copy(update={"gate": config.gate.model_copy(update={"extractor": extractor})})


def make_gate(
    captioned: str | RowFiles, generator: Result, data: str, config: SynthesisConfig, earlier: Result | None
) -> MadeGate:
    """The gate of a stage's data; what an earlier start of the same work made is kept.

    Args:
        earlier: the drawing whose gate is taken.
    """
    import ray

    target = storage.join(data, FOLDER)
    if earlier:
        with watched(busy("copying the gate")):
            ray.get(ray.remote(storage.copy_directory).remote(storage.join(earlier.data, FOLDER), target))
    resources = {"num_cpus": config.cpus_per_actor, "num_gpus": config.gpus_per_actor}
    with watched(busy("indexing training images")):
        about = build(generator, target, config.gate, config.seed, resources)
    with watched(busy("calibrating the gate")):
        calibration = calibrate(captioned, generator, target, config.gate, config.seed, resources)
    if warning := calibration.warning():
        print(f"      warning: {warning}", flush=True)
    if calibration.false_rate:
        caught = ", ".join(f"{kind} {100 * found.caught:.0f}%" for kind, found in calibration.recall.items())
        print(f"      gate: planted copies caught: {caught}", flush=True)
    return MadeGate(target, about, calibration)


def write_page(data: str, captioned: str | RowFiles, gate: MadeGate) -> None:
    """What the gate saw in the rows that were drawn."""
    page.write(data, captioned, gate.about, gate.calibration, size_of(gate.uri))


def size_of(uri: str) -> int:
    """Bytes of the files below a place."""
    from pyarrow import fs

    system, path = storage.filesystem(uri)
    return sum(int(file.size) for file in system.get_file_info(fs.FileSelector(path)) if file.is_file)
