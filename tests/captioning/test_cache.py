"""Answers that were paid for survive a killed process."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import storage
from dermray.captioning import cache
from dermray.captioning.cache import AnswerCache
from tests.captioning.endpoint import Endpoint, ask_all, block, completion, serving

ROOT = Path(__file__).parent.parent.parent
ROWS, CONCURRENCY, PER_OBJECT, LATENCY = 60, 4, 8, 0.03
QUESTIONS = [f"question {i}" for i in range(ROWS)]
CLIENT = f"""
import sys
from dermray.captioning import cache
from tests.captioning.endpoint import ask_all
cache.SECONDS, cache.ANSWERS_PER_OBJECT = 0.2, {PER_OBJECT}
questions = [f"question {{i}}" for i in range({ROWS})]
ask_all(sys.argv[1], questions, sys.argv[2], concurrency={CONCURRENCY})
print("not killed")
"""


class Counting(Endpoint):
    """Answers each question after a while, and counts."""

    def reply(self, body: str) -> None:
        question = json.loads(body)["messages"][0]["content"][1]["text"]
        self.count(question)
        time.sleep(LATENCY)
        self.send(200, completion(f"An answer to {question}."))


def stored(place: str) -> int:
    """Answers that lie in the cache."""
    return sum(storage.read_bytes(file).count(b"\n") for file in storage.list_files(f"{place}/answers", ".jsonl"))


def killed_in_mid_block(address: str, place: str) -> None:
    """A client in a process of its own, killed by SIGKILL when a fifth of its block is kept."""
    command = [sys.executable, "-c", CLIENT, address, place]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while stored(place) < ROWS / 5 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.stdout is not None and "not killed" not in process.stdout.read()
    assert process.returncode == -9


def test_after_a_kill_in_mid_block_nothing_that_was_kept_is_asked_again(place: str) -> None:
    """Local: all but requests under way are kept. S3: and but answers that waited for an object."""
    with serving(Counting) as address:
        killed_in_mid_block(address, place)
        before, kept = Counting.tries.total(), stored(place)
        assert ROWS / 5 <= kept <= before < ROWS
        if not storage.is_s3(place):
            assert before - kept <= CONCURRENCY
        rows = ask_all(address, QUESTIONS, place)
    assert [row["text"] for row in rows] == [f"An answer to {question}." for question in QUESTIONS]
    assert set(Counting.tries) == set(QUESTIONS) and max(Counting.tries.values()) <= 2
    assert Counting.tries.total() - ROWS == before - kept, "the rest is not paid for again"


def checkpoint(directory: str, name: str, ids: list[str]) -> None:
    system, path = storage.filesystem(directory)
    storage.make_directory(directory)
    pq.write_table(pa.table({"sample_id": ids}), f"{path}/{name}.parquet", filesystem=system)


def test_another_run_finds_answers_in_whatever_blocks_it_cuts(place: str) -> None:
    """As when a driver is started again: rows that are written are left out, the others come in other blocks."""
    answers, done = AnswerCache(f"{place}/answers"), f"{place}/checkpoint"
    with serving(Counting) as address:
        ask_all(address, QUESTIONS[:24], place)
        ask_all(address, QUESTIONS[24:48], place)
        checkpoint(done, "a", [f"id of {question}" for question in QUESTIONS[:20]])
        checkpoint(done, "b.pending", [f"id of {question}" for question in QUESTIONS[20:24]])
        answers.collect(done)
        assert len(answers.earlier()) == 28, "of rows without a committed checkpoint"
        assert storage.list_files(f"{place}/answers") == [f"{place}/answers/earlier.jsonl"]
        rows = ask_all(address, QUESTIONS[:15:-1], place)
        assert [row["text"] for row in rows] == [f"An answer to {q}." for q in QUESTIONS[:15:-1]]
        assert {q for q, n in Counting.tries.items() if n == 2} == set(QUESTIONS[16:20]), "whose rows are written"
        assert set(Counting.tries) == set(QUESTIONS)
    answers.collect(done)
    assert len(answers.earlier()) == 40, "a third run has those of both"


def test_what_decides_an_answer_names_it(tmp_path: Path) -> None:
    """Another question, image, setting or try of --retry-failed is another request; another block is not."""
    table = block(["one", "two"])
    tried = table.append_column("attempts", pa.array([1, 1]))
    with serving(Counting) as address:
        ask_all(address, ["one", "two"], tmp_path, table=table)
        ask_all(address, ["one", "two"], tmp_path, table=table, max_retries=0)
        assert Counting.tries == {"one": 1, "two": 1}
        ask_all(address, ["one", "two"], tmp_path, table=tried)
        ask_all(address, ["one", "two"], tmp_path, table=table.set_column(1, "shown", pa.array([b"other", b"image"])))
        assert Counting.tries == {"one": 3, "two": 2}
        ask_all(address, ["one", "two"], tmp_path, table=table, model="n")
    assert Counting.tries == {"one": 4, "two": 3}


def test_a_line_cut_by_a_kill_costs_that_answer_alone(tmp_path: Path) -> None:
    with serving(Counting) as address:
        ask_all(address, QUESTIONS[:3], tmp_path)
        (file,) = (tmp_path / "answers").rglob("*.jsonl")
        file.write_bytes(file.read_bytes()[:-20])
        ask_all(address, QUESTIONS[:3], tmp_path)
    assert sorted(Counting.tries.values()) == [1, 1, 2]


def test_ten_thousand_answers_make_few_objects(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 16 allows 0.05 requests a row beside the images'."""
    written: list[int] = []
    monkeypatch.setattr(storage, "write_bytes", lambda uri, data: written.append(data.count(b"\n")))

    async def answered(rows: int) -> None:
        async with AnswerCache(f"{bucket}/answers").block(["a"]) as kept:
            for i in range(rows):
                await kept.keep(f"{i}", f"{i}", {"text": "Red."})

    asyncio.run(answered(10_000))
    assert sum(written) == 10_000 and len(written) < 0.02 * 10_000


def test_answers_that_come_slowly_are_written_soon(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SECONDS", 0.05)

    async def answered() -> int:
        async with AnswerCache(f"{bucket}/answers").block(["a"]) as kept:
            await kept.keep("1", "1", {"text": "Red."})
            await asyncio.sleep(0.5)
            return len(storage.list_files(bucket))

    assert asyncio.run(answered()) == 1, "before the block ends"


def test_a_store_that_refuses_is_no_silent_loss(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("a file, where a directory must be")
    with serving(Counting) as address, pytest.raises(OSError, match="answers"):
        ask_all(address, ["one"], tmp_path)
