"""One training on one worker, or on several by Ray Train; in a stage, and in a trial of Ray Tune alike."""

from collections.abc import Callable
from typing import Any

from dermray import storage

HOPELESS = "hopeless.txt"
TRIES = 3  # after which a training whose workers die is given up; each goes on from the last state


def run(
    function: Callable[..., None], arguments: dict[str, Any], workers: int, cpus: float, gpus: float, place: str
) -> None:
    """Call `function(**arguments, device=...)` in each worker.

    Args:
        workers: 1 is a Ray task. cpus, gpus: of each. place: where Ray Train may keep its notes.
    """
    if workers == 1:
        import ray

        task = ray.remote(function).options(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES)
        ray.get(task.remote(**arguments, device="cuda" if gpus else "cpu"))
        return
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    system, path = storage.filesystem(place)
    note = storage.join(place, HOPELESS)
    storage.delete_file(note)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"function": function, "arguments": arguments, "note": note},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {}),
        ),
        run_config=RunConfig(
            name="workers",
            storage_path=path,
            storage_filesystem=system,
            failure_config=FailureConfig(max_failures=TRIES),
        ),
    )
    trainer.fit()


def _worker(given: dict[str, Any]) -> None:
    """Ray starts workers again after any error; one that would come again is noted, and raised at once then."""
    from ray.train.torch import get_device

    if storage.exists(given["note"]):
        raise ValueError(storage.read_bytes(given["note"]).decode())
    try:
        given["function"](**given["arguments"], device=str(get_device()))
    except ValueError as error:
        storage.write_bytes(given["note"], str(error).encode())
        raise
