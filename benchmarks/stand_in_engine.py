"""A stand-in for a captioning engine: fixed latency and concurrency, no model. For what is not about the model.

Like vLLM in ray.data.llm it is an actor with a process beside it, two blocks in flight, and ends itself when that
process dies, so that Ray starts it again.
"""

import asyncio
import json
import multiprocessing
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dermray.captioning.engine import ANSWERED, Answer, Ask
from dermray.captioning.vllm_engine import BATCHES_IN_FLIGHT

if TYPE_CHECKING:
    from ray.data import Dataset

TEXT = "asymmetric lesion, irregular border, red."


def model_directory(parent: str) -> str:
    """What stands in for a model's weights: a directory with something in it, which every captioner has."""
    directory = Path(parent) / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return str(directory)


@dataclass(frozen=True)
class StandIn:
    """How the stand-in behaves."""

    latency: float = 0.0  # seconds per request
    concurrency: int = 64  # requests of one replica at a time
    replicas: int = 1
    cpus: float = 1
    record: str | None = None  # directory; every row asked about is noted there
    clock: str | None = None  # directory; when each row was taken on is noted there, in Unix seconds
    process: bool = False  # an engine process beside the actor, for tests that kill it
    resource: str | None = None  # a Ray resource that places the replicas

    def prepared(self, model: str, host: Any) -> Answer:
        """Takes the place of `choose.prepared`."""
        return self.answer

    def answer(self, rows: "Dataset", ask: Ask) -> "Dataset":
        """Rows with a made-up answer."""
        from ray.data import ActorPoolStrategy

        return rows.map_batches(
            _Engine,
            fn_constructor_args=(self, ask),
            batch_format="pyarrow",
            batch_size=None,
            compute=ActorPoolStrategy(size=self.replicas, max_tasks_in_flight_per_actor=BATCHES_IN_FLIGHT),
            num_cpus=self.cpus,
            max_concurrency=BATCHES_IN_FLIGHT,
            resources={self.resource: 0.01} if self.resource else None,
        )


class _Engine:
    def __init__(self, settings: StandIn, ask: Ask) -> None:
        self.settings, self.ask = settings, ask
        self.room = asyncio.Semaphore(settings.concurrency)
        if settings.process:
            _start_process()
        ask.ledger.engine_ready()

    async def __call__(self, table: pa.Table) -> AsyncIterator[pa.Table]:
        await self.ask.ledger.begun(table["unreadable"].null_count)
        if self.settings.record:
            ids = "".join(f"{i}\n" for i in table["sample_id"].to_pylist())
            (Path(self.settings.record) / f"{os.getpid()}-{time.time_ns()}").write_text(ids)
        if self.settings.latency:
            times = await asyncio.gather(*(self._wait() for _ in range(table.num_rows)))
            if self.settings.clock:
                note = Path(self.settings.clock) / f"{os.getpid()}-{time.time_ns()}.json"
                note.write_text(json.dumps(times))
        n = table.num_rows
        requests = table["unreadable"].is_null().cast(pa.int32()).to_pylist()
        columns = ([TEXT] * n, [80] * n, [12] * n, ["stop"] * n, [None] * n, requests)
        for (name, kind), column in zip(ANSWERED, columns, strict=True):
            table = table.append_column(name, pa.array(column, kind))
        yield table

    async def _wait(self) -> float:
        async with self.room:
            taken = time.time()
            await asyncio.sleep(self.settings.latency)
        return taken


def _start_process() -> None:
    """A process named after what it stands for; when it dies this actor's process does too."""
    process = multiprocessing.get_context("spawn").Process(target=_engine_process, daemon=True)
    process.start()

    def watch() -> None:
        process.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _engine_process() -> None:
    while os.getppid() != 1:
        time.sleep(0.2)
