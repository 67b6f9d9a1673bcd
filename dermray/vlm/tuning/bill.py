"""What `dermray tune-vlm --dry-run` prints: weights trained and frozen, and the memory that they take at least."""

from dermray import storage
from dermray.train_loop.optimizers import KEPT
from dermray.training.bill import memory_bytes
from dermray.vlm.tuning import base as bases
from dermray.vlm.tuning.adapters import check_adapter, locate_adapter, prepared, trained_and_frozen
from dermray.vlm.tuning.base import DTYPES, Found
from dermray.vlm.tuning.parts import counts
from dermray.vlm.tuning.settings import TuneConfig
from dermray.vlm.tuning.survey import find_rows

BYTES = 4  # of a trained weight, its gradient and each number of an optimiser


def planned(config: TuneConfig, found: Found) -> tuple[int, int]:
    """Weights that are trained and frozen. No weight is read.

    Raises:
        ValueError: parts, layers or an adapter to begin with that the base does not have.
    """
    empty = found.base.empty()
    if config.start_from:
        adapter = locate_adapter(config.start_from)
        learned = check_adapter(adapter, empty, found.base, config.start_from)
        return learned, sum(weight.numel() for weight in empty.parameters())
    return trained_and_frozen(prepared(empty, found.base, config, None))


def dry_run(config: TuneConfig) -> str:
    """The bill of a tuning. Nothing is started, no weights are read. Rows that are not there yet are no error.

    Raises:
        FileNotFoundError, ValueError: the tuning would not start.
    """
    rows = _rows(config)
    found = bases.find(config)
    trained, frozen = planned(config, found)
    of = counts(found.base.empty())
    workers = config.loop.least_and_most[0] if config.loop.parallel == "fsdp" else 1
    kept = KEPT[config.loop.optimizer] * (1 if config.loop.optimizer == "adamw8bit" else BYTES)
    averages = BYTES if config.loop.ema_decay else 0
    memory = (trained * (2 * BYTES + kept + averages) + frozen * DTYPES[config.dtype].itemsize) // workers
    lines = {
        "base": f"{found.base.name}, licence {found.licence}",
        "parts": ", ".join(f"{part.replace('_', ' ')} {number:,}" for part, number in of.items() if number),
        "parameters": f"{trained:,} trained, {frozen:,} frozen",
        "memory": f"{memory_bytes(memory)} a worker for weights, gradients and optimizer; activations come on top",
        "checkpoint": f"{memory_bytes(trained * (BYTES + kept + averages))}; the last "
        f"{config.loop.keep_checkpoints} are kept",
        "rows": rows,
    }
    return "\n".join(f"{name + ':':<12} {text}" for name, text in lines.items())


def _rows(config: TuneConfig) -> str:
    if not storage.exists(storage.join(storage.normalise(config.rows), "manifest.json")):
        return f"{config.rows}: not there yet"
    counts = find_rows(config.rows, config.learn).manifest.rows
    return f"{config.rows}: {counts.ok:,} usable in all splits; the train split's are learned from"
