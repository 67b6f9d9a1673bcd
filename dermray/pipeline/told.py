"""What a run prints of its stages."""

import time

from dermray.manifest import Result
from dermray.pipeline.graph import Instance


class Told:
    """Prints which stage begins and how it ends, with its number."""

    def __init__(self, names: list[str]) -> None:
        self.number = {name: f"[{number}/{len(names)}]" for number, name in enumerate(names, 1)}

    def begins(self, instance: Instance) -> float:
        """Returns when that was, in Unix seconds."""
        of = "" if instance.stage == instance.name else f" ({instance.stage})"
        print(f"{self.number[instance.name]} {instance.name}{of} ...", flush=True)
        return time.time()

    def ended(self, instance: Instance, result: Result, began: float) -> None:
        """Rows, and how long it took."""
        rows, took = result.manifest.rows, time.time() - began
        state = f"{took:.0f} s" if result.manifest.started >= began - 1 else "already done"
        lost = "".join(f", {n} {word}" for word, n in (("rejected", rows.rejected), ("failed", rows.failed)) if n)
        said = f"{rows.ok} of {rows.rows_in} rows ok{lost}; {state}"
        print(f"{self.number[instance.name]} {instance.name}: {said}", flush=True)
