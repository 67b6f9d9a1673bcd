import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray import claims, lease, manifest, storage
from dermray.config import Config, HowFast
from dermray.manifest import Rows
from dermray.records import STATUSES
from dermray.row_files import RowFiles


class Settings(Config):
    output: str
    rows: str = "somewhere"
    steps: int = 1


def finish(output: str, steps: int = 1) -> manifest.Result:
    with manifest.work("caption", output, Settings(output=output, steps=steps), {}) as work:
        if work.finished:
            return work.finished
        storage.write_bytes(f"{work.data}/x", b"x")
        return work.commit(Rows(rows_in=3, ok=1, rejected=2, failed=0), 3)


def test_the_same_work_is_done_once_and_other_work_is_refused(place: str) -> None:
    first = finish(f"{place}/out")
    assert finish(f"{place}/out").manifest == first.manifest
    with pytest.raises(storage.OutputTaken, match="steps: 1 then, 2 now"):
        finish(f"{place}/out", steps=2)


def test_splits_that_leak_are_a_mark_on_all_that_is_made_from_them(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = dict[str, manifest.Result]()
    for name, inputs, leaking in (("a", [], {"a": 3}), ("b", [], {"b": 1}), ("c", ["a", "b"], {}), ("d", ["c"], {})):
        output = f"{place}/{name}"
        with manifest.work(name, output, Settings(output=output), {each: results[each] for each in inputs}) as work:
            work.leaking_groups |= leaking
            results[name] = work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    assert results["d"].manifest.leaking_groups == results["c"].manifest.leaking_groups == {"a": 3, "b": 1}
    said = capsys.readouterr().out.splitlines()
    warning = "split by image: 4 leak groups lie in several splits, so scores on val and test images are inflated"
    assert [line.strip() for line in said] == [f"WARNING: {warning}"] * 2, "as c and d begin"


class Loop(Config):
    steps: int = 1
    workers: HowFast[int] = 1


class Training(Config):
    output: str
    loop: Loop = Loop()
    cache: HowFast[str | None] = None


def begun(output: str, stage: str = "train", far: str = "", steps: int = 1, workers: int = 1, **identity: str) -> str:
    """The data of a stage that is killed after it wrote something."""
    config = Training(output=output, loop=Loop(steps=steps, workers=workers))
    with manifest.work(stage, output, config, {}, lambda data: far, **identity) as work:
        storage.write_bytes(f"{work.data}/x", b"x")
    return work.data


def test_unfinished_data_of_other_settings_is_never_passed_over_in_silence(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = begun(f"{place}/out")
    assert begun(f"{place}/out", workers=2) == first, "how fast does not decide what comes out"
    assert capsys.readouterr().out == "", "what is gone on with is no other work"
    second = begun(f"{place}/out", far="last checkpoint at step 20", steps=3, workers=4)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"{first}: unfinished work lies here (begun 20" in said
    assert "last checkpoint at step 20), which this run does not go on with (loop.steps: 1 then, 3 now); it beg" in said
    assert second.rpartition("/")[2] in said and "workers" not in said
    begun(f"{place}/out", stage="generate", far="7 of 9 images", steps=3)
    said = capsys.readouterr().out
    assert "7 of 9" not in said, "a training has no images"
    assert said.count("\n") == 2 and said.count("with (stage 'train', not 'generate')") == 2
    begun(f"{place}/other")
    begun(f"{place}/other", base="1234")
    assert "go on with (another input 'base'); it begins anew" in capsys.readouterr().out
    storage.delete_file(storage.join(f"{place}/other", f"begun-{first.rpartition('-')[2]}.json"))
    begun(f"{place}/other", base="1234")
    assert "begun at an unknown time), which this run does not go on with (nothing tells" in capsys.readouterr().out


def test_what_was_begun_is_forgotten_when_it_is_finished(place: str) -> None:
    made = finish(f"{place}/out")
    assert storage.list_files(f"{place}/out", ".json") == [storage.join(made.uri, "manifest.json")]


def test_a_key_that_differs_though_no_setting_does_is_explained(tmp_path: Path) -> None:
    made = finish(str(tmp_path))
    other = made.manifest.model_copy(update={"key": "0" * 12})
    (tmp_path / "manifest.json").write_text(other.model_dump_json())
    with pytest.raises(storage.OutputTaken, match="the same settings, but as another version of dermray understands"):
        finish(str(tmp_path))


def test_a_result_can_be_moved(tmp_path: Path) -> None:
    made = finish(str(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = manifest.read(str(tmp_path / "b"), "caption")
    assert moved.manifest == made.manifest
    assert storage.read_bytes(f"{moved.data}/x") == b"x"
    assert finish(str(tmp_path / "b")).manifest == made.manifest


def test_no_manifest_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; run the caption stage first"):
        manifest.read(str(tmp_path / "none"), "caption")
    with (
        pytest.raises(RuntimeError, match="boom"),
        manifest.work("caption", str(tmp_path / "out"), Settings(output="x"), {}),
    ):
        raise RuntimeError("boom")
    with pytest.raises(FileNotFoundError, match="no finished result"):
        manifest.read(str(tmp_path / "out"), "caption")


def test_another_stages_result_is_refused(tmp_path: Path) -> None:
    finish(str(tmp_path / "out"))
    with pytest.raises(ValueError, match="stage 'caption', expected one of 'train'"):
        manifest.read(str(tmp_path / "out"), "train")


def test_two_writers_at_once(place: str) -> None:
    settings = Settings(output=f"{place}/out")
    with manifest.work("caption", settings.output, settings, {}):
        with (
            pytest.raises(storage.OutputTaken, match="another run"),
            manifest.work("caption", settings.output, settings, {}),
        ):
            pass


def test_a_late_writer_cannot_replace_a_manifest(place: str) -> None:
    settings = Settings(output=f"{place}/out")
    with manifest.work("caption", settings.output, settings, {}) as work:
        work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
        with pytest.raises(storage.OutputTaken, match="first"):
            work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)


def test_a_writer_that_was_paused_and_one_that_took_over_never_share_a_directory(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is paused for longer than its claim lasts, and the second goes on with what it left. The first, awake
    again, writes and commits before the second does: its result is what it wrote, and the second is refused."""
    monkeypatch.setattr(lease, "SECONDS", 6.0)  # a busy machine may renew seconds late
    monkeypatch.setattr(lease, "MARGIN", 1.0)
    monkeypatch.setattr(claims, "_boot", itertools.count().__next__)  # as if on two machines
    settings, paused, awake = Settings(output=f"{place}/out"), threading.Event(), threading.Event()
    refused: list[str] = []

    def first() -> None:
        try:
            with manifest.work("caption", settings.output, settings, {}) as work:
                storage.write_bytes(f"{work.data}/rows/1", b"first")
                monkeypatch.setattr(work.lease, "renew", lambda: True)  # the pause comes after the commit has asked
                paused.set()
                awake.wait()
                storage.write_bytes(f"{work.data}/rows/2", b"late")
                work.commit(Rows(rows_in=2, ok=2, rejected=0, failed=0), 2)
        except storage.OutputTaken as error:
            refused.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    paused.wait()
    time.sleep(8)
    with manifest.work("caption", settings.output, settings, {}) as work:
        assert storage.read_bytes(f"{work.data}/rows/1") == b"first", "what was done is gone on with"
        awake.set()
        thread.join()
        assert not refused, "the manifest was still to be had, and names what the first wrote itself"
        with pytest.raises(storage.OutputTaken, match="first"):
            work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)
    result = manifest.read(settings.output)
    assert [storage.read_bytes(f"{result.data}/rows/{n}") for n in (1, 2)] == [b"first", b"late"]
    assert result.data != work.data


def test_what_attempts_left_is_gone_after_the_commit(place: str) -> None:
    settings = Settings(output=f"{place}/out")
    with manifest.work("caption", settings.output, settings, {}) as work:
        storage.write_bytes(f"{work.data}/x", b"x")
        storage.write_bytes(f"{work.data}-0123abcd/x", b"x")
        storage.write_bytes(f"{place}/out/data-other/x", b"x")
        work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    assert sorted(storage.list_directories(settings.output)) == sorted([work.directory, "data-other"])


def leaving_things(output: str) -> None:
    """Work that keeps notes until it is done."""
    with manifest.work("caption", output, Settings(output=output), {}) as work:
        for name in ("x", "notes", "checkpoint/1", "ledger/1"):
            storage.write_bytes(f"{work.data}/{name}", b"x")
        work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1, temporary=["checkpoint/", "ledger/", "notes"])


@pytest.mark.parametrize("kill", range(4))
def test_a_kill_amid_the_tidying_is_made_good_by_the_next_start(
    place: str, kill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it was done: nothing, two things, or all but the note that work began."""
    output, removed, tree, file = f"{place}/out", list[str](), storage.delete_tree, storage.delete_file

    def remove(uri: str, how: Callable[[str], None]) -> None:
        if "claim" not in uri:
            if len(removed) == kill:
                raise KeyboardInterrupt
            removed.append(uri)
        how(uri)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_tree", lambda uri: remove(uri, tree))
        patch.setattr(storage, "delete_file", lambda uri: remove(uri, file))
        with pytest.raises(KeyboardInterrupt):
            leaving_things(output)
    note = f"{output}/begun-{manifest.read(output).manifest.key}.json"
    assert len(removed) == kill and storage.exists(note)
    result = finish(output)
    assert storage.list_files(result.data) == [f"{result.data}/x"], "only what the result is"
    assert not storage.exists(note)


def test_relative_outputs_are_refused_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with (
        pytest.raises(ValueError, match="thrown away"),
        manifest.work("caption", "runs/x", Settings(output="runs/x"), {}),
    ):
        pass


@given(
    st.dictionaries(st.tuples(st.sampled_from(STATUSES), st.one_of(st.none(), st.text(max_size=4))), st.integers(1, 9))
)
def test_no_row_is_lost_in_counting(counts: dict[tuple[str, str | None], int]) -> None:
    rows = Rows.count(Counter(counts))
    assert rows.rows_in == sum(counts.values()) == rows.ok + rows.rejected + rows.failed


def retried(output: str, steps: int, kept: manifest.Result | None) -> manifest.Result:
    """A result that goes on from an earlier one, in another attempt's settings."""
    inputs = {"retry_failed": kept} if kept else {}
    with manifest.work("caption", output, Settings(output=output, steps=steps), inputs) as work:
        work.kept = kept
        storage.write_bytes(f"{work.data}/rows/x", b"x")
        assert work.row_files().uri == f"{work.data}/rows"
        return work.commit(Rows(rows_in=3, ok=3, rejected=0, failed=0), 3)


def test_a_chain_of_results_names_all_their_rows_also_where_it_has_moved(place: str) -> None:
    first = retried(f"{place}/runs/first", 1, None)
    second = retried(f"{place}/runs/second", 2, first)
    third = retried(f"{place}/third", 3, second)
    assert first.row_files() == RowFiles(f"{first.data}/rows")
    expected = RowFiles(f"{third.data}/rows", (f"{second.data}/rows", f"{first.data}/rows"))
    assert manifest.read(f"{place}/third").row_files() == expected

    storage.copy_directory(place, moved := f"{place}-moved" if not storage.is_s3(place) else f"{place}/moved")
    storage.delete_tree(f"{place}/runs")
    storage.delete_tree(f"{place}/third")
    third = manifest.read(f"{moved}/third")
    names = [uri.removeprefix(moved).split("/data-")[0] for uri in (third.row_files().uri, *third.row_files().kept)]
    assert names == ["/third", "/runs/second", "/runs/first"]


def test_a_result_alone_may_move_and_what_it_keeps_must_stay(place: str) -> None:
    first = retried(f"{place}/runs/first", 1, None)
    second = retried(f"{place}/runs/second", 2, first)
    storage.copy_directory(second.uri, f"{place}/elsewhere/deep/second")
    moved = manifest.read(f"{place}/elsewhere/deep/second")
    assert moved.row_files().kept == (f"{first.data}/rows",)

    storage.delete_tree(first.uri)
    gone = f"good rows of an earlier result \\(key {first.manifest.key}\\), which is no longer at {first.uri}; put"
    with pytest.raises(FileNotFoundError, match=gone):
        manifest.read(second.uri).row_files()
    retried(first.uri, 7, None)
    with pytest.raises(FileNotFoundError, match=gone):  # other work lies there
        manifest.read(second.uri).row_files()
    with pytest.raises(FileNotFoundError, match=f"no longer at {place}/elsewhere/deep/first or {first.uri}; put"):
        moved.row_files()
