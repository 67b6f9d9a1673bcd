"""What a running job shows: rates by a clock, reasons by the files, and a line a minute whatever happens."""

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import progress, storage
from dermray.progress import Heartbeat, Progress, busy, count_rows, duration, files_written, rows_written, watched


def test_lines_by_a_clock() -> None:
    heartbeat = Heartbeat(0.0)
    assert heartbeat.line("", 5) == ""
    assert heartbeat.line("", 60) == "nothing to count yet, nothing new for 60 s"
    lost = Counter({"engine: 403": 6, "empty file": 2})
    assert heartbeat.line(Progress(500, 2500), 100) == "500 of 2500 rows written", "those of an earlier start, perhaps"
    assert heartbeat.line(Progress(900, 2500, lost=lost, engines=4), 200) == (
        "900 of 2500 rows written, 8 of them not ok (most of them: engine: 403, 6), 4/s, 400 s left, 4 engines alive"
    ).replace("400 s", "7 min")
    assert heartbeat.line(Progress(900, 2500, lost=lost, engines=4), 210) == "", "nothing new"
    stuck = heartbeat.line(Progress(900, 2500, lost=lost, engines=4), 300)
    assert "4/s, 7 min left, 4 engines alive, nothing new for 100 s" in stuck, "as long as the step before"
    died = heartbeat.line(Progress(900, 2500, lost=lost, engines=3), 301)
    assert died.endswith("3 engines alive, nothing new for 101 s"), "its age is the last block's"
    assert heartbeat.line("cannot see how far it is", 305) == "cannot see how far it is, nothing new for 105 s"
    hours = heartbeat.line(Progress(900, 2500), 7400)
    assert hours == "900 of 2500 rows written, 0.0556/s, 8.0 h left, nothing new for 2.0 h"
    assert heartbeat.line(Progress(2500, 2500), 8000).startswith("2500 of 2500 rows written, ")


def test_a_rate_is_that_of_the_last_minutes() -> None:
    heartbeat = Heartbeat(0.0)
    for second in range(0, 1000, 5):  # 2/s, then 10/s from 500 s on
        line = heartbeat.line(Progress(2 * min(second, 500) + 10 * max(0, second - 500), None), second)
    assert ", 10/s" in line
    slow = Heartbeat(0.0)
    for second in range(0, 6000, 5):  # a block of 60 rows every ten minutes
        line = slow.line(Progress(60 * (second // 600), 6000), second) or line
    assert line == "540 of 6000 rows written, 0.1/s, 15.2 h left, nothing new for 9 min"


def test_a_text_is_repeated_once_a_minute() -> None:
    heartbeat, lines = Heartbeat(0.0), []
    for second in range(5, 200, 5):
        lines.append(heartbeat.line("step 5 of 9", second))
    assert [line for line in lines if line] == [
        "step 5 of 9",
        *(f"step 5 of 9, nothing new for {age}" for age in ("60 s", "2 min", "3 min")),
    ]


def test_durations() -> None:
    assert [duration(s) for s in (0, 119, 120, 7100, 7200, 86_400)] == ["0 s", "119 s", "2 min", "118 min", "2.0 h",
                                                                       "24.0 h"]  # fmt: skip


def write(file: Path | str, statuses: list[str], reasons: list[str | None]) -> None:
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"status": statuses, "reason": pa.array(reasons, pa.string())}), file)


def test_rows_by_reason_and_each_file_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = rows_written(str(tmp_path), 100)
    assert read() == ""
    write(tmp_path / "a.parquet", ["ok"] * 7, [None] * 7)
    write(tmp_path / "b.parquet", ["ok", "failed", "rejected"], [None, "engine: 403 @ row 5", "empty file"])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more yet")
    lost = Counter({"engine: 403": 1, "empty file": 1})
    assert read() == Progress(10, 100, lost=lost)
    assert count_rows(str(tmp_path)) == 10
    write(tmp_path / "c.parquet", ["failed"] * 2, ["engine: 403 @ row 6", "engine: 403 @ row 7"])
    opened, parquet = list[str](), pq.ParquetFile

    def noted(file: str, **named: Any) -> Any:
        opened.append(file)
        return parquet(file, **named)

    monkeypatch.setattr(pq, "ParquetFile", noted)
    assert read() == Progress(12, 100, lost=lost + Counter({"engine: 403": 2}))
    assert opened == [str(tmp_path / "c.parquet")], "footers of the others are known"


def test_rows_in_s3(bucket: str, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ["ok"] * 3, [None] * 3)
    storage.copy_directory(str(tmp_path), f"{bucket}/rows")
    assert count_rows(f"{bucket}/rows") == 3


def test_files_and_work_that_cannot_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = files_written(str(tmp_path / "tune"), "model.safetensors", "trials done", 12)
    assert read() == ""
    for trial in range(2):
        (tmp_path / f"tune/{trial}/checkpoint_000000").mkdir(parents=True)
        (tmp_path / f"tune/{trial}/checkpoint_000000/model.safetensors").touch()
        (tmp_path / f"tune/{trial}/result.json").touch()
    assert read() == Progress(2, 12, "trials done")
    measuring, now = busy("measuring"), time.monotonic()
    assert measuring() == ""
    monkeypatch.setattr(time, "monotonic", lambda: now + 190)
    assert measuring() == "measuring, for 3 min"


def test_an_error_of_s3_is_outlived(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_READINGS", 0.01)
    given: list[str | OSError] = ["step 1", OSError("503 Slow Down"), OSError("503 Slow Down"), "step 2"]
    readings = iter(given)

    def read() -> str:
        reading = next(readings, "step 2")
        if isinstance(reading, OSError):
            raise reading
        return reading

    with watched(read):
        end = time.monotonic() + 5
        out = ""
        while "step 2" not in out and time.monotonic() < end:
            time.sleep(0.02)
            out += capsys.readouterr().out
    assert re.fullmatch(r" +step 1\n +cannot see how far it is \(OSError: 503 Slow Down\)\n +step 2\n", out)


def test_a_slow_reading_takes_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_READINGS", 0.001)
    calls: list[float] = []

    def read() -> str:
        calls.append(time.monotonic())
        time.sleep(0.02)
        return ""

    with watched(read):
        time.sleep(1.0)
    assert 1 <= len(calls) <= 3, "each pauses for 0.4 s"


def test_a_line_is_printed_in_time_however_slow_the_first_reading_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that goes on first reads the files of all rows that are written."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_READINGS", 0.001)
    monkeypatch.setattr(progress, "HEARTBEAT", 0.1)
    seconds = iter([0.2])

    def read() -> str:
        time.sleep(next(seconds, 0))
        return "step 1"

    with watched(read):
        time.sleep(1.0)
    assert capsys.readouterr().out.count("step 1") >= 3, "by itself the reading would make it pause for 4 s"


def test_a_count_of_actors_starts_and_joins_no_ray() -> None:
    """Ray's own functions do so where it is not connected yet: a job would end up on whatever cluster runs there."""
    script = "import ray; from dermray.progress import actors_alive; print(actors_alive(('A',)), ray.is_initialized())"
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=-1, stderr=-3, text=True)
    assert done.stdout == "None False\n"
