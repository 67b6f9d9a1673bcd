"""Manifests of a run, as its stages leave them, without the stages' work."""

from typing import Any

from dermray.manifest import Manifest, Result, Rows
from dermray.papers.measured import Measured, Run


def finished(
    stage: str, key: str, inputs: dict[str, str] | None = None, ok: int = 1, config: dict[str, Any] | None = None,
    **metrics: Any,
) -> Result:  # fmt: skip
    """A result of which only the manifest is read."""
    made = Manifest(
        stage=stage, key=key, config=config or {}, inputs=inputs or {}, data="data", metrics=metrics,
        rows=Rows(rows_in=ok, ok=ok, rejected=0, failed=0), versions={}, started=0, seconds=0, cpus=1, gpus=0,
    )  # fmt: skip
    return Result(f"runs/{key}", made)


def lineage(source: str = "ham10000", family: str = "glide") -> dict[str, Result]:
    """ingest, caption, train and generate, as they follow one another."""
    return {
        "ingest": finished("ingest", "i", config={"sources": [{"source": source}]}),
        "caption": finished("caption", "c", {"rows": "i"}),
        "train": finished("train", "t", {"rows": "c"}, config={"family": family}),
        "generate": finished("generate", "g", {"rows": "c", "generator": "t"}, ok=500),
    }


def run(**results: Result) -> Run:
    """What readers of results look up the others in."""
    return Run(results)


def one(found: list[Measured], **where: str) -> Measured:
    """The only number there."""
    [only] = [each for each in found if where.items() <= each.where.items()]
    return only
