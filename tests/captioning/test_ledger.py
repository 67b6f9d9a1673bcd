"""Engines' notes: read by one listing, written beside the work, and never worth it."""

import asyncio
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import pages, storage
from dermray.captioning import summary
from dermray.captioning.ledger import Ledger
from dermray.captioning.settings import VllmConfig
from tests.captioning.endpoint import Endpoint, ask_all, completion, serving


class Answering(Endpoint):
    """Says something about every image."""

    def reply(self, body: str) -> None:
        self.send(200, completion("Asymmetric."))


def begin(ledger: Ledger, *blocks: int) -> None:
    async def all_of_them() -> None:
        for rows in blocks:
            await ledger.begun(rows)

    asyncio.run(all_of_them())


def test_one_listing_reads_all_notes(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, began = Ledger(f"{place}/ledger"), time.time()
    assert ledger.notes("block") == []
    ledger.run_begun(7)
    engine: Ledger = pickle.loads(pickle.dumps(ledger))  # as it travels to an engine
    engine.engine_ready()
    begin(engine, 256, 3)
    monkeypatch.setattr(storage, "read_bytes", None)
    assert [note.rows for note in ledger.notes("block")] == [256, 3], "in order of time"
    assert [note.rows for note in ledger.notes("run")] == [7] and len(ledger.notes("engine")) == 1
    assert all(began - 1e-5 <= note.time <= time.time() for note in ledger.notes("block"))


def test_what_could_not_be_noted_is_noted_with_the_next_block(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, write, calls = Ledger(str(tmp_path)), storage.write_bytes, [0]

    def sometimes(uri: str, data: bytes) -> None:
        calls[0] += 1
        if calls[0] in (1, 3, 4):
            raise OSError("503 Slow Down")
        write(uri, data)

    monkeypatch.setattr(storage, "write_bytes", sometimes)
    ledger.engine_ready()
    begin(ledger, 10, 20, 30, 40)
    assert [note.rows for note in ledger.notes("block")] == [10, 90], "20 and 30 waited for 40"
    assert capsys.readouterr().err.count("a note for the ledger of engines is lost") == 1
    assert ledger.notes("engine") == []


def test_an_engine_answers_all_the_same_and_the_summary_says_what_is_unknown(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, write = Ledger(f"{tmp_path}/ledger"), storage.write_bytes
    ledger.run_begun(0)

    def out_of_reach(uri: str, data: bytes) -> None:
        if "/ledger/" in uri:
            raise OSError("no route to host")
        write(uri, data)

    def told(rows: int) -> dict[str, Any]:
        columns = [["ok"] * rows, pa.nulls(rows, pa.string()), [1] * rows, [1] * rows, [1] * rows]
        table = pa.table(columns, summary.COUNTED)
        storage.make_directory(f"{tmp_path}/rows")
        pq.write_table(table, f"{tmp_path}/rows/{rows}.parquet")
        return summary.summarise(summary.count(f"{tmp_path}/rows"), ledger, VllmConfig(), summary.Counts())

    begin(ledger, 8)
    assert told(5)["rows_asked_again"] == 3
    monkeypatch.setattr(storage, "write_bytes", out_of_reach)
    with serving(Answering) as address:
        rows = ask_all(address, ["plain"] * 9, tmp_path)
    assert {row["finish_reason"] for row in rows} == {"stop"}
    lost = told(9)
    assert lost["rows"] == 14 and lost["rows_asked_again"] is None, "8 noted, 14 written"
    page = pages.render(
        Path(summary.__file__).parent / "page.html", title="t", summary=lost, accuracy={}, good=[], bad=[]
    )
    assert "unknown how many rows were asked again" in page


def test_the_event_loop_goes_on_while_a_note_is_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(storage, "write_bytes", lambda uri, data: free.wait(10))

    async def works() -> bool:
        note = asyncio.create_task(Ledger(str(tmp_path)).begun(4))
        await asyncio.sleep(0.05)
        waited = not note.done()
        free.set()
        await note
        return waited

    assert asyncio.run(works())
