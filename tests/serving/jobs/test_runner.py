"""What works on jobs, with a model in this process that can be made to fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing, Drawn
from dermray.serving.jobs import runner as runners
from dermray.serving.jobs.desk import Desk
from dermray.serving.jobs.ledger import Job, Ledger
from dermray.serving.jobs.runner import Runner
from dermray.serving.settings import Jobs

STEPS, FAULT = 4, "the service failed on this job; its operator's log says why"


class Model:
    """Draws at a pace, and notes what it was asked. The gate refuses seeds that divide by ten."""

    def __init__(self, pace: float = 0.0) -> None:
        self.pace, self.asked, self.ended = pace, list[list[int]](), 0
        self.fails: list[Exception] = []
        self.kills_at, self.version = 1, "v1"

    @property
    def about(self) -> Any:
        async def remote() -> dict[str, str]:
            return {"version": self.version}

        return SimpleNamespace(remote=remote)

    async def stream(self, method: str, drawing: Drawing) -> AsyncIterator[int | Drawn]:
        assert method == "draw_stepwise" and drawing.client == "ann"
        self.asked.append(drawing.seeds)
        try:
            for number, seed in enumerate(drawing.seeds):
                await asyncio.sleep(self.pace)
                if self.fails and number >= self.kills_at:
                    raise self.fails.pop()
                yield Drawn(seed, None if seed % 10 == 0 else b"png %d" % seed, 0.5)
                yield (number + 1) * STEPS
        finally:
            self.ended += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOKS", "RENEWED", "PAUSE"):
        monkeypatch.setattr(runners, name, 0.02)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Jobs(database=f"sqlite:///{tmp_path}/jobs.db", place=str(tmp_path / "images"), images_at_once=4))


def add(ledger: Ledger, seeds: list[int]) -> str:
    drawing = {"prompt": "red.", "seeds": seeds, "steps": STEPS, "guidance_scale": 2.0, "size": 16}
    return ledger.add("ann", None, "pixel", drawing, {"licence": "CC0-1.0", "size": "16x16", "version": "v1"})


async def until(what: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.02)):
        answer = what()
        if answer if isinstance(answer, bool) else await answer:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


def job(desk: Desk, identity: str) -> Job:
    found = desk.ledger.get(identity, "ann")
    assert found
    return found


def places(desk: Desk, identity: str) -> list[int]:
    return [image.place for image in desk.ledger.images_of(identity)]


def of(model: Model) -> Callable[[str], Awaitable[Model]]:
    async def handle_of(name: str) -> Model:
        return model

    return handle_of


def run(desk: Desk, model: Model, body: Callable[[], Awaitable[None]]) -> None:
    async def together() -> None:
        async with Runner(desk, ["pixel"], of(model)).running():
            await body()

    asyncio.run(together())


def test_a_job_is_drawn_part_by_part_and_refused_seeds_are_told(desk: Desk, tmp_path: Path) -> None:
    model, identity = Model(), add(desk.ledger, [7, 8, 9, 10, 11, 12])
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    assert job(desk, identity).status == "succeeded" and model.asked == [[7, 8, 9, 10], [11, 12]]
    images = desk.ledger.images_of(identity)
    assert [(i.place, i.seed, i.sample_id is None) for i in images] == [
        (place, seed, seed == 10) for place, seed in enumerate([7, 8, 9, 10, 11, 12])
    ]
    written = sorted((tmp_path / "images" / identity).iterdir())
    assert [file.read_bytes() for file in written] == [b"png 7", b"png 8", b"png 9", b"png 11", b"png 12"]


def test_a_dead_replica_costs_what_was_under_way(desk: Desk) -> None:
    model, identity = Model(), add(desk.ledger, list(range(1, 9)))
    model.fails = [ApiError(503, "the replica that worked on this died; try again"), OSError("storage is away")]
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    assert job(desk, identity).status == "succeeded" and places(desk, identity) == list(range(8))
    assert model.asked == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [7, 8]], "none is drawn twice that was there"


def test_a_job_that_kills_whatever_draws_it_fails_in_the_end(desk: Desk) -> None:
    model, identity = Model(), add(desk.ledger, [1, 2])
    model.fails = [ApiError(503, "the replica that worked on this died") for _ in range(99)]
    model.kills_at = 0
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    error = job(desk, identity).error
    assert job(desk, identity).status == "failed" and error and error["message"].endswith("tried 5 times")


def test_a_job_whose_images_cannot_be_kept_is_not_drawn_for_ever(desk: Desk) -> None:
    model, identity = Model(), add(desk.ledger, [1, 2])
    model.fails, model.kills_at = [OSError("/secret/place: no space left") for _ in range(99)], 0
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    assert job(desk, identity).error == {
        "message": "images cannot be kept: tried 5 times",
        "code": "images_unavailable",
    }
    assert len(model.asked) == 5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ApiError(400, "prompt: no", "prompt", "bad"), {"message": "prompt: no", "param": "prompt", "code": "bad"}),
        (ZeroDivisionError(), {"message": FAULT, "code": "fault"}),
    ],
)
def test_what_is_the_job_s_own_fault_ends_it_with_the_reason(desk: Desk, error: Exception, said: Any) -> None:
    model, identity = Model(), add(desk.ledger, [1, 2])
    model.fails = [error]
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    assert job(desk, identity).status == "failed" and job(desk, identity).error == said
    assert places(desk, identity) == [0], "what is there stays"


def test_a_model_with_other_weights_does_not_go_on(desk: Desk) -> None:
    model, identity = Model(), add(desk.ledger, [1])
    model.version = "v2"
    run(desk, model, lambda: until(lambda: job(desk, identity).finished))
    error = job(desk, identity).error
    assert error and error["code"] == "model_replaced" and model.asked == []


def test_a_cancelled_job_ends_before_its_next_image(desk: Desk) -> None:
    model, identity = Model(pace=0.1), add(desk.ledger, list(range(1, 100)))

    async def cancel() -> None:
        await until(lambda: len(places(desk, identity)) >= 2)
        assert desk.ledger.cancel(identity, "ann")
        await until(lambda: model.ended == len(model.asked))

    run(desk, model, cancel)
    assert job(desk, identity).status == "cancelled" and len(places(desk, identity)) < 8


def test_progress_is_told_in_steps(desk: Desk) -> None:
    model, identity = Model(pace=0.05), add(desk.ledger, list(range(1, 9)))
    seen = set[int]()

    def watched() -> bool:
        seen.add(job(desk, identity).steps_done)
        return job(desk, identity).finished

    run(desk, model, lambda: until(watched))
    assert len(seen) >= 4 and max(seen) == 8 * STEPS and all(steps % STEPS == 0 for steps in seen)


def test_what_one_runner_leaves_another_goes_on_with_at_once(desk: Desk) -> None:
    slow, identity = Model(pace=0.1), add(desk.ledger, list(range(1, 9)))
    run(desk, slow, lambda: until(lambda: len(places(desk, identity)) >= 2))
    there = len(places(desk, identity))
    assert job(desk, identity).status == "queued" and there < 8
    quick = Model()
    run(desk, quick, lambda: until(lambda: job(desk, identity).finished))
    assert sum(map(len, quick.asked)) == 8 - there and places(desk, identity) == list(range(8))


def test_a_database_out_of_reach_for_a_while_loses_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "HELD", 0.5)  # as long as the job is still held by who could not say anything
    model, identity = Model(pace=0.02), add(desk.ledger, list(range(1, 9)))
    asked, away = Desk.ask, False

    async def ask(self: Desk, question: Any) -> Any:
        if away:
            raise ApiError(503, "the store of jobs is out of reach")
        return await asked(self, question)

    monkeypatch.setattr(Desk, "ask", ask)

    async def outage() -> None:
        nonlocal away
        await until(lambda: len(places(desk, identity)) >= 2)
        away = True
        await asyncio.sleep(0.3)
        away = False
        await until(lambda: job(desk, identity).finished)

    run(desk, model, outage)
    assert job(desk, identity).status == "succeeded" and places(desk, identity) == list(range(8))


def test_jobs_whose_time_is_over_go_with_their_files(tmp_path: Path) -> None:
    desk = Desk(Jobs(database=f"sqlite:///{tmp_path}/jobs.db", place=str(tmp_path / "images"), days=1e-9))
    identity = add(desk.ledger, [1])

    async def drawn_and_gone() -> None:
        await until(lambda: job(desk, identity).finished)
        await asyncio.sleep(0.05)
        await Runner(desk, ["pixel"], of(Model()))._remove_old()

    run(desk, Model(), drawn_and_gone)
    assert desk.ledger.get(identity, "ann") is None and not list((tmp_path / "images").glob("*"))
