"""Lists and labels that a user extends in place: the same config is then other work."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.told_files import digests


def phantoms(output: Path, known: Path) -> Any:
    few = {"source": "phantom", "count": 40, "size": 32, "broken": 0.0, "duplicates": 0.0}
    return validate(ingest.IngestConfig, {"output": str(output), "sources": [few], "known_duplicates": str(known)})


def test_digests_change_with_what_the_files_say_and_with_nothing_else(tmp_path: Path) -> None:
    known, labels = tmp_path / "known.csv", tmp_path / "mine.yaml"
    known.write_text("a,b\n1,2\n")
    labels.write_text("nv: {}\n")
    sources = [{"source": "phantom"}, {"source": "ham10000", "path": "x", "more_labels": str(labels)}]
    lists = phantoms(tmp_path / "out", known).known_duplicates
    before = digests(sources, lists)
    assert before.keys() == {"known_duplicates.0", "sources.1.more_labels"} and before == digests(sources, lists)
    known.write_text("a,b\n1,2\n3,4\n")
    after = digests(sources, lists)
    assert {name for name in before if before[name] != after[name]} == {"known_duplicates.0"}
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"mine\.yaml"):
        digests(sources, lists)


@pytest.mark.slow
def test_a_longer_list_is_no_finished_work(local_ray: None, tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("a,b\n1,2\n")
    first = ingest.run(phantoms(tmp_path / "out", known))
    assert ingest.run(phantoms(tmp_path / "out", known)).manifest == first.manifest, "found again"
    known.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(Exception, match=r"known_duplicates\.0"):
        ingest.run(phantoms(tmp_path / "out", known))
