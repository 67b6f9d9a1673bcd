"""Jobs in a database: held by one at a time, whoever dies, in SQLite and PostgreSQL alike."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from dermray.serving.jobs.ledger import JobImage, Ledger, Lost

MODELS, HELD = ["pixel"], 60.0


def add(ledger: Ledger, owner: str = "ann", images: int = 2, repeat: str | None = None, model: str = "pixel") -> str:
    drawing: dict[str, Any] = {"prompt": "red.", "seeds": list(range(images)), "steps": 3, "guidance_scale": 2.0}
    return ledger.add(owner, repeat, model, drawing, {"licence": "CC0-1.0", "size": "16x16", "version": "v1"})


def test_from_the_first_word_to_the_last(ledger: Ledger) -> None:
    identity = add(ledger)
    job = ledger.get(identity, "ann")
    assert job and (job.status, job.images, job.steps, job.steps_done) == ("queued", 2, 6, 0)
    assert abs(job.created - time.time()) < 60, "Unix seconds"
    assert (claimed := ledger.claim("r", MODELS, HELD)) and claimed.id == identity and claimed.status == "running"
    ledger.renew(identity, "r", HELD, 4)
    ledger.add_image(identity, "r", JobImage(1, (1 << 53) - 1, "s1", 0.5))
    ledger.add_image(identity, "r", JobImage(0, 7, None, 1.5))
    ledger.add_image(identity, "r", JobImage(0, 7, None, 1.5))
    assert ledger.images_of(identity) == [JobImage(0, 7, None, 1.5), JobImage(1, (1 << 53) - 1, "s1", 0.5)]
    assert (at_work := ledger.get(identity, "ann")) and at_work.steps_done == 4
    ledger.finish(identity, "r")
    done = ledger.get(identity, "ann")
    assert done and done.finished and (done.status, done.steps_done, done.error) == ("succeeded", 6, None)
    assert ledger.claim("r", MODELS, HELD) is None


def test_a_failure_keeps_its_reason(ledger: Ledger) -> None:
    identity = add(ledger)
    ledger.claim("r", MODELS, HELD)
    ledger.finish(identity, "r", {"message": "no", "code": "c"})
    assert (job := ledger.get(identity, "ann")) and (job.status, job.error) == (
        "failed",
        {"message": "no", "code": "c"},
    )


def test_of_many_who_ask_one_gets_each_job(ledger: Ledger) -> None:
    identities = {add(ledger, f"key {i % 3}") for i in range(24)}
    with ThreadPoolExecutor(6) as pool:
        claimed = list(pool.map(lambda i: ledger.claim(f"r{i}", MODELS, HELD), range(60)))
    got = Counter(job.id for job in claimed if job)
    while job := ledger.claim("last", MODELS, HELD):  # who was beaten to one job is given none, and asks again
        got[job.id] += 1
    assert got.keys() == identities and set(got.values()) == {1}


def test_a_dead_runner_s_job_is_taken_over_and_it_can_write_no_more(ledger: Ledger) -> None:
    identity = add(ledger)
    ledger.claim("dead", MODELS, 0.2)
    assert ledger.claim("heir", MODELS, HELD) is None
    time.sleep(0.4)
    assert (job := ledger.claim("heir", MODELS, HELD)) and job.id == identity
    for word in (
        lambda: ledger.renew(identity, "dead", HELD, 1),
        lambda: ledger.add_image(identity, "dead", JobImage(0, 1, "s", None)),
        lambda: ledger.finish(identity, "dead"),
    ):
        with pytest.raises(Lost):
            word()
    assert ledger.images_of(identity) == []
    ledger.finish(identity, "heir")


def test_who_ends_lets_go_at_once(ledger: Ledger) -> None:
    identity = add(ledger)
    ledger.claim("r", MODELS, HELD)
    ledger.let_go("r")
    assert (job := ledger.claim("next", MODELS, HELD)) and job.id == identity


def test_a_cancelled_job_is_its_runner_s_no_more(ledger: Ledger) -> None:
    waiting, at_work = add(ledger), add(ledger, "bob")
    ids = {job.id for job in (ledger.claim("r", MODELS, HELD), ledger.claim("s", MODELS, HELD)) if job}
    assert ids == {waiting, at_work}
    assert not ledger.cancel(waiting, "bob"), "another key's"
    assert ledger.cancel(waiting, "ann") and not ledger.cancel(waiting, "ann"), "twice"
    with pytest.raises(Lost):
        ledger.renew(waiting, "r", HELD, 1)
    assert (job := ledger.get(waiting, "ann")) and job.status == "cancelled"


def test_the_same_question_is_one_job(ledger: Ledger) -> None:
    first = add(ledger, repeat="q1")
    assert add(ledger, repeat="q1") == first != add(ledger, repeat="q2")
    assert add(ledger, "bob", repeat="q1") != first
    assert add(ledger) != add(ledger), "without a word of the client's each is another"


def test_keys_take_turns_and_a_runner_takes_what_it_has_models_for(ledger: Ledger) -> None:
    for _ in range(3):
        add(ledger, "many")
    few, other = add(ledger, "few"), add(ledger, "few", model="flux")
    first, second = ledger.claim("r1", MODELS, HELD), ledger.claim("r2", MODELS, HELD)
    assert first and second and (first.owner, second.id) == ("many", few)
    assert (job := ledger.claim("r3", ["flux"], HELD)) and job.id == other


def test_jobs_of_a_key(ledger: Ledger) -> None:
    mine = [add(ledger) for _ in range(3)]
    add(ledger, "bob")
    assert ledger.unfinished("ann") == 3 and ledger.unfinished("nobody") == 0
    ledger.cancel(mine[0], "ann")
    assert ledger.unfinished("ann") == 2
    assert {job.id for job in ledger.newest("ann", 10)} == set(mine) and len(ledger.newest("ann", 2)) == 2
    assert ledger.get(mine[0], "bob") is None


def test_old_ones_go_with_their_images(ledger: Ledger) -> None:
    done, waiting = add(ledger), add(ledger, "bob")
    ledger.claim("r", MODELS, HELD)
    ledger.add_image(done, "r", JobImage(0, 1, "s", None))
    ledger.finish(done, "r")
    assert ledger.older_than(3600) == []
    time.sleep(0.05)
    assert ledger.older_than(0.01) == [done], "unfinished ones stay"
    ledger.remove(done)
    assert ledger.get(done, "ann") is None and ledger.images_of(done) == [] and ledger.get(waiting, "bob")


def test_all_who_open_a_database_share_its_secret(ledger: Ledger, url: str) -> None:
    other = Ledger(url)
    assert ledger.link_secret() == other.link_secret() == ledger.link_secret() and len(ledger.link_secret()) == 32
    other.engine.dispose()


@pytest.mark.parametrize("bad", ["no url", "postgresql+nodriver://h/d", "oracle+oracledb://scott:tiger@h/d"])
def test_what_is_no_database_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises((ValueError, SQLAlchemyError), match=r"jobs.database: ") as raised:
        Ledger(bad)
    assert "tiger" not in str(raised.value)
