"""Do stages ask for GPUs where there is none? They would wait for one, or fail, when their turn comes."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from dermray.doctor.finding import Finding, fault

FIELDS = frozenset({"gpus", "gpus_per_actor", "gpus_per_trial", "gpus_per_worker"})


def asked(config: BaseModel) -> Iterator[tuple[str, float]]:
    """(field, GPUs) of everything in a stage's config that asks for some."""
    yield from _asked(config.model_dump(mode="json"))


def findings(fields: Mapping[str, float]) -> Iterator[Finding]:
    """A fault where fields ask for GPUs, and this machine, or the cluster of RAY_ADDRESS, has none."""
    if not fields or _gpus() != 0:
        return
    where = f"the cluster {address}" if (address := os.environ.get("RAY_ADDRESS")) else "this machine"
    told = ", ".join(f"{field}={count:g}" for field, count in fields.items())
    yield fault(
        f"{where} has no GPU, and these ask for some: {told}",
        "set RAY_ADDRESS to a cluster with GPUs, start it on a machine that has some, or choose a smaller config or "
        "scale for CPUs",
    )


def _asked(config: Any, before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        field = f"{before}.{name}".removeprefix(".")
        if name == "engine" and config.get("remote"):
            continue  # an endpoint answers in its place
        if isinstance(value, dict | list):
            yield from _asked(value, field)
        elif name in FIELDS and isinstance(value, int | float) and value > 0:
            yield field, value


def _gpus() -> float | None:
    """How many there are; None where the cluster does not answer, of which `cluster` tells."""
    if not os.environ.get("RAY_ADDRESS"):
        from dermray.gpus import memories_here

        return len(memories_here())
    from dermray.cluster import connect

    try:
        return float(connect().cluster_resources().get("GPU", 0))
    except (RuntimeError, ValueError, ConnectionError):
        return None
