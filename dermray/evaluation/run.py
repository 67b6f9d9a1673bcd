"""The evaluation stage: real and synthetic rows in, numbers with their floors and pictures out."""

from typing import Any

from dermray import manifest, storage
from dermray.evaluation.settings import EvaluationConfig
from dermray.manifest import Result, Rows
from dermray.progress import busy, watched


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

        connect(work.uri)
        task = ray.remote(_measured).options(num_cpus=config.cpus)
        with watched(busy("measuring")):
            metrics, pictures = ray.get(task.remote(rows, synthetic, config))
        for name, picture in pictures.items():
            storage.write_bytes(storage.join(work.data, name), picture)
        judged = metrics["images"]["real"] + metrics["images"]["synthetic"]
        counts = Rows(rows_in=judged, ok=judged, rejected=0, failed=0)
        return work.commit(counts, judged, cpus=config.cpus, **metrics)  # a sample is what was drawn


def _measured(rows: Result, synthetic: Result, config: EvaluationConfig) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Runs in a Ray task; what it needs takes seconds to import, and the driver does without."""
    from dermray.evaluation.measure import measure

    return measure(rows, synthetic, config)
