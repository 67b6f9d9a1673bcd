"""The evaluation stage: real and synthetic rows in, numbers with their floors and pictures out."""

from typing import Any

from pydantic import Field

from dermray import manifest, storage
from dermray.config import Config
from dermray.manifest import Result, Rows


class EvaluationConfig(Config):
    """What to compare, and how the judge is trained."""

    output: str
    rows: str = Field(description="result of the caption stage: the real rows")
    synthetic: str = Field(description="result of the generate stage")
    judge_phantoms: int = Field(4000, ge=100, description="fresh phantoms that the judge of phantoms learns from")
    judge_steps: int = Field(500, ge=10)
    max_images: int = Field(2000, ge=10, description="of each kind, the first by sample id")
    pairs: int = Field(200, ge=1, description="for MS-SSIM")
    cpus: float = Field(2, gt=0)
    seed: int = Field(0, ge=0)


def run(config: EvaluationConfig) -> Result:
    """Train the judge on images that no other model saw, then judge.

    Raises:
        FileNotFoundError, ValueError: missing inputs, or too few images.
    """
    rows, synthetic = manifest.read(config.rows, "caption"), manifest.read(config.synthetic, "generate")
    with manifest.work("evaluate", config.output, config, {"rows": rows, "synthetic": synthetic}) as work:
        if work.finished:
            return work.finished
        import ray

        from dermray.cluster import connect

        connect()
        task = ray.remote(_measured).options(num_cpus=config.cpus)
        metrics, pictures = ray.get(task.remote(rows, synthetic, config))
        for name, picture in pictures.items():
            storage.write_bytes(storage.join(work.data, name), picture)
        judged = metrics["images"]["real"] + metrics["images"]["synthetic"]
        return work.commit(Rows(rows_in=judged, ok=judged, rejected=0, failed=0), cpus=config.cpus, **metrics)


def _measured(rows: Result, synthetic: Result, config: EvaluationConfig) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Runs in a Ray task; what it needs takes seconds to import, and the driver does without."""
    from dermray.evaluation.measure import measure

    return measure(rows, synthetic, config)
