from pathlib import Path

import pytest

from dermray.datasets import joined
from dermray.datasets.cells import Cells
from dermray.datasets.sources import TableConfig, open_table


def config(folder: Path, table: str, labels: str) -> TableConfig:
    (folder / "t.csv").write_text(table)
    (folder / "labels.csv").write_text(labels)
    return TableConfig(path=str(folder), table="t.csv", images="images")


def test_two_tables_pair_by_a_column_and_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    both = config(tmp_path, "image,age\na,1\nb,2\nc,3\n", "image,MEL,note\nb,1,x\na,0,y\nz,0,\n")
    lines, facts = joined.beside(both, open_table(both, ["image"]), "labels.csv", "image", ["MEL"])
    assert lines["b"] == {"image": "b", "MEL": "1"}
    assert (facts["rows_without_line"], facts["lines_without_row"], facts["columns_not_read"]) == (1, 1, ["note"])
    cells = Cells({"image": "b", "age": "2"}, "t.csv line 3")
    joined.look_up(cells, "image", lines, "labels")
    assert cells.values == {"image": "b", "age": "2", "MEL": "1"} and not cells.issues


def test_a_row_without_a_line_has_an_issue_and_one_without_a_key_has_none() -> None:
    cells = Cells({"image": "c"}, "t.csv line 4")
    joined.look_up(cells, "image", {"a": {"image": "a", "MEL": "1"}}, "labels")
    assert cells.issues == ["image: expected a line in the labels @ t.csv line 4: 'c'"] and "MEL" not in cells.values
    cells = Cells({"image": None}, "t.csv line 5")
    joined.look_up(cells, "image", {}, "labels")
    assert not cells.issues


def test_tables_that_do_not_pair_and_a_key_said_twice_are_refused(tmp_path: Path) -> None:
    apart = config(tmp_path, "image\na\n", "image,MEL\nq,1\n")
    with pytest.raises(ValueError, match=r"t.csv: none of its 1 rows has a line in .*labels.csv; do the two pair"):
        joined.beside(apart, open_table(apart, ["image"]), "labels.csv", "image", ["MEL"])
    twice = config(tmp_path, "image\na\n", "image,MEL\na,1\na,0\n")
    with pytest.raises(ValueError, match="labels.csv line 3: image='a' is there a second time"):
        joined.beside(twice, open_table(twice, ["image"]), "labels.csv", "image", ["MEL"])
