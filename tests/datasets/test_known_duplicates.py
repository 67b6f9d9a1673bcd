"""Lists of known duplicates: which rows their names mean, and what is said of lists that cannot be meant."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dermray.config import ConfigError, validate
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.known_duplicates import KnownDuplicates, check, joined, messages
from tests.datasets.published import rows_of
from tests.datasets.test_assignment import assign, raw


def rows(*ids: str, source: str = "c") -> pa.Table:
    return pa.table({"source": [source] * len(ids), "source_id": list(ids)})


def linked(table: pa.Table, **given: Any) -> set[frozenset[str]]:
    names = table["source_id"].to_pylist()
    return {frozenset(names[row] for row in link) for link in joined([KnownDuplicates(**given)], table).links.tolist()}


def config(*known: Any) -> list[KnownDuplicates]:
    return config_of([*known])


def config_of(known: Any) -> list[KnownDuplicates]:
    given = {"output": "o", "sources": [{"source": "folder", "path": "p"}], "known_duplicates": known}
    return validate(IngestConfig, given).known_duplicates


@pytest.mark.slow  # 33,126 rows are grouped
def test_every_pair_of_the_real_list_of_isic_2020_shares_a_group(shared: Path, tmp_path: Path) -> None:
    names = [row["source_id"] for row in rows_of("isic_2020", shared / "metadata")]
    read = [raw(i, source_id=name, source="isic_2020", thumbnail=i.to_bytes(4) * 48) for i, name in enumerate(names)]
    file = shared / "metadata" / "ISIC_2020_Training_Duplicates.csv"
    pairs = [line.split(",") for line in file.read_text().split()[1:]]
    known = {"path": str(file), "source": "isic_2020"}
    groups = {name: row["leak_group"] for name, row in assign(tmp_path, read, known_duplicates=[known]).items()}
    assert len(pairs) == 425 and all(groups[one] == groups[other] for one, other in pairs)
    assert len(set(groups.values())) == len(names) - 425, "and nobody else does"


def test_names_match_with_and_without_folders_and_extension() -> None:
    table = rows("train/a.JPG", "test/a.jpg", "b", r"deep\train\c.png", "x.y", "d")
    assert linked(table, pairs=[["train/a", "b.jpg"]]) == {frozenset(["train/a.JPG", "b"])}
    assert linked(table, pairs=[["a.png", "q"]]) == {frozenset(["train/a.JPG", "test/a.jpg"])}, (
        "a name of several joins them all"
    )
    assert linked(table, pairs=[["elsewhere/b", "train/c"]]) == {frozenset(["b", r"deep\train\c.png"])}
    assert linked(table, pairs=[["x", "d"]]) == linked(table, pairs=[["rain/a", "d"]]) == set()


def test_only_rows_of_the_source_are_meant() -> None:
    table = pa.concat_tables([rows("a", "b"), rows("a", source="other")])
    assert joined(config({"pairs": [["a", "b"]], "source": "c"}), table).links.tolist() == [[0, 1]]
    assert len(joined(config([["a", "b"]][0]), table).links) == 2


def test_more_than_two_names_and_what_is_not_there_is_counted(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("image_1;image_2;image_3;who\na;b;c;ann\nd;gone;;bo\ne;;;cy\n")
    [known] = config(str(tmp_path / "known.csv"))
    table = rows("a", "b", "c", "d", "e")
    check([known])
    found = joined([known], table)
    assert {row for link in found.links.tolist() for row in link} == {0, 1, 2}
    assert found.facts == [
        {"list": known.path, "lines": 3, "lines_that_join": 1, "names_without_row": 1, "examples": ["gone"]}
    ]
    [told] = messages(found.facts)
    assert told.startswith("warning:") and "1 of 3 lines" in told and "1 names are no row's, such as gone" in told
    [nothing] = messages(joined([known], rows("z")).facts)
    assert "0 of 3" in nothing and "do its names fit" in nothing


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("image_1,image_2\na,b\n", {"columns": ["image_1", "image_3"]}, r"\['image_3'\] are missing"),
        ("id,who,when\na,b,c\n", {}, "name two or more with `columns`"),
        ("ISIC_0079038,ISIC_8521950\nISIC_0087297,ISIC_4755972\n", {}, "expected a header"),
        ("image_1,image_2\na,\n,b\n", {}, "no line names two images"),
        ("image_1,image_2\na,b,c\n", {}, "table row of 3 cells"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, settings: Any, message: str) -> None:
    (tmp_path / "known.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        check([KnownDuplicates(path=str(tmp_path / "known.csv"), **settings)])


def test_what_a_config_may_not_say(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"known_duplicates.0.path=None: expected either the path"):
        config({"source": "c"})
    with pytest.raises(ConfigError, match=r"known_duplicates.0.pairs=\['a', 'a'\]: expected two names"):
        config(["a", "a"])
    assert config("a.csv", "b.csv") and config_of("a.csv") == config("a.csv"), "one list needs no brackets"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such list of known duplicates"):
        check(config("nowhere.csv"))
    with pytest.raises(FileNotFoundError, match="no such list of known duplicates"):
        check(config(str(tmp_path)))


def test_a_list_joins_patients_too(tmp_path: Path) -> None:
    read = [raw(i, patient_id=f"c/p{i // 2}") for i in range(60)]
    read[0] |= {"status": "failed", "reason": "image file missing", "hash": None, "thumbnail": None, "sample_id": None}
    groups = assign(tmp_path, read, known_duplicates=[["000", "007.jpg"]])
    assert groups["001"]["leak_group"] == groups["006"]["leak_group"], "patients 0 and 3, by an image that is missing"
    assert groups["002"]["leak_group"] != groups["006"]["leak_group"]
