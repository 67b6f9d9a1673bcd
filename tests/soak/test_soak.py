"""A soak that saw nothing would end well too: what it must see, and a short one for real."""

import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import manifest
from dermray.config import Config
from dermray.manifest import Result, Rows
from tests import tampering
from tests.soak import results, rounds
from tests.soak.faults import FAULTS, Machine, wait
from tests.soak.stages import STAGES
from tests.soak.watch import Watch

ROOT = Path(__file__).parent.parent.parent


class MadeConfig(Config):
    output: str


def made(uri: str) -> Result:
    """A result of two files of rows and some weights."""
    with manifest.work("made", uri, MadeConfig(output=uri), {}) as work:
        rows = Path(work.data, "rows")
        rows.mkdir(parents=True)
        for part in range(2):
            names = [f"id{part}{i}" for i in range(3)]
            pq.write_table(pa.table({"sample_id": names, "image": [b"\x89PNG"] * 3, "seconds": [time.time()] * 3}),
                           rows / f"{part}.parquet")  # fmt: skip
        Path(work.data, "weights.bin").write_bytes(bytes(100))
        return work.commit(Rows(rows_in=6, ok=5, rejected=0, failed=1), 6)


def seen(expected: Result, found: Result) -> list[str]:
    return list(results.differences(results.held(expected), results.held(found)))


def test_two_results_of_the_same_work_differ_in_nothing(tmp_path: Path) -> None:
    assert seen(made(f"{tmp_path}/a"), made(f"{tmp_path}/b")) == []


@pytest.mark.parametrize(("other", "same"), [(1.2701647374158, True), (1.2701747373564, False)])
def test_sums_may_end_otherwise_and_no_more(other: float, same: bool) -> None:
    texts = [results._content(name, json.dumps({"frechet": number}).encode())
             for name in ("a.json", "a.csv") for number in (1.2701647373564, other)]  # fmt: skip
    assert (texts[0] == texts[1], texts[2] == texts[3]) == (same, same)


@pytest.mark.parametrize("tamper", [tampering.lose_a_row, tampering.double_a_row, tampering.swap_a_row])
def test_rows_that_are_lost_doubled_or_both_are_seen(tmp_path: Path, tamper: Any) -> None:
    expected, found = made(f"{tmp_path}/a"), made(f"{tmp_path}/b")
    tamper(found.data)
    (said,) = seen(expected, found)
    assert said.startswith("rows in rows/: ") and "6 rows, 0 ids twice" in said.partition("expected")[2]
    assert ("1 ids twice" in said) == (tamper is not tampering.lose_a_row)


def test_a_bit_a_missing_file_and_one_left_over_are_seen(tmp_path: Path) -> None:
    expected, found = made(f"{tmp_path}/a"), made(f"{tmp_path}/b")
    weights = Path(found.data, "weights.bin")
    weights.write_bytes(bytes(99) + b"\x01")
    assert [line.partition(":")[0] for line in seen(expected, found)] == ["weights.bin"]
    weights.rename(f"{weights}.partial")
    assert seen(expected, found) == ["weights.bin: missing", "weights.bin.partial: left over"]
    Path(found.uri, "begun-0.json").write_text("{}")
    assert results.beside(found.uri, found) == ["begun-0.json"]


def test_a_manifest_that_comes_before_its_rows_is_seen_while_the_stage_runs(tmp_path: Path) -> None:
    expected, late = made(f"{tmp_path}/a"), made(f"{tmp_path}/b")
    hidden = Path(late.data, "rows", "1.parquet")
    hidden.rename(tmp_path / "hidden")
    watch = Watch(late.uri, lambda: seen(expected, late))
    assert wait(lambda: bool(watch.wrong), 30)
    (tmp_path / "hidden").rename(hidden)
    assert seen(expected, late) == [] and watch.end()[0].startswith("as soon as there was a manifest: rows in rows/")


def test_ids_that_are_noted_before_their_rows_are_written_are_seen(tmp_path: Path) -> None:
    data = tmp_path / "out" / "data-0"
    for name, ids in (("rows/0.parquet", ["a", "b"]), ("checkpoint/asked/0.parquet", ["a", "b", "c"])):
        (data / name).parent.mkdir(parents=True)
        pq.write_table(pa.table({"sample_id": ids}), data / name)
    watch = Watch(str(tmp_path / "out"), list)
    assert wait(lambda: bool(watch.wrong), 30)
    assert watch.end()[0] == f"{data}: 1 ids are noted as written, and in no row"


def test_a_seed_decides_the_rounds_and_every_stage_meets_every_fault() -> None:
    machine = Machine.__new__(Machine)  # without its nodes
    machine.disk = Path("/disk")
    first, again = (list(islice(rounds.plans(7, STAGES, machine), 200)) for _ in range(2))
    assert first == again != list(islice(rounds.plans(8, STAGES, machine), 200))
    assert {plan.faults[0][0] for plan in first} and all(1 <= len(plan.faults) <= 3 for plan in first)
    met = {(plan.stage.name, kind) for plan in first for kind, _, _ in plan.faults}
    able = {(name, kind) for name, stage in STAGES.items() for kind in FAULTS if stage.engine or kind != "engine"}
    assert met == able
    machine.disk = None
    assert not any(
        kind == "disk_full" for plan in islice(rounds.plans(7, STAGES, machine), 50) for kind, *_ in plan.faults
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "kinds"),  # how many kinds of faults must have hit
    [
        pytest.param(["10", "--seed", "137", "--rounds", "1-2", "--stages", "ingest"], 2, id="two rounds"),  # CI's cut
        pytest.param(
            ["30", "--seed", "1925", "--rounds", "1-4", "--stages", "ingest,caption,train"], 3,
            marks=[pytest.mark.soak, pytest.mark.timeout(1800)], id="four rounds",
        ),
        pytest.param(
            ["60", "--seed", "31"], 12, marks=[pytest.mark.soak, pytest.mark.timeout(10_000)], id="an hour",
        ),
    ],
)  # fmt: skip
def test_a_soak(arguments: list[str], kinds: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "benchmarks.chaos_soak", *arguments, "--json", f"{tmp_path}/told.json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    told = json.loads((tmp_path / "told.json").read_text())
    hit = {kind for each in told["rounds"] for kind, _ in each["done"]}
    assert told["wrong"] == 0 and len(hit) >= kinds, hit
    assert all(each["looks"] > 3 for each in told["rounds"])
