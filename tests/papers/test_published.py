"""Every number is in its paper, at the place that is cited, beside the words that say what it is."""

import re
from pathlib import Path

import pytest

from dermray.config import ConfigError, validate
from dermray.papers.published import PAPERS, UNREAD, Paper, Row, Table, read
from tests.papers import texts


def numbers(row: Row) -> list[str]:
    return [printed for printed in row.printed.split() if printed != UNREAD]


@pytest.mark.parametrize("name", PAPERS)
def test_every_number_stands_where_it_is_cited(name: str, shared: Path) -> None:
    paper = read(name)
    text = texts.of_paper(shared, paper.number)
    cited = [(table, row) for table in paper.tables for row in table.rows if numbers(row)]
    assert all(row.words for _, row in cited), "a number without words could stand anywhere"
    missing = [
        f"{table.name}: {row.printed} {row.words}"
        for table, row in cited
        if not any(texts.says(p, row.words, numbers(row)) for p in texts.passages(text, row.read_at or table.read_at))
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(("name", "table"), [("dermdit", "1"), ("dermdit", "2"), ("dermaflux", "1"), ("dermaflux", "2"),
                                             ("dermaflux", "3")])  # fmt: skip
def test_no_number_of_a_printed_table_is_left_out(name: str, table: str, shared: Path) -> None:
    paper = read(name)
    lines = texts.table(texts.of_paper(shared, paper.number).splitlines(), table)
    printed = [cell for line in lines for cell in line if re.fullmatch(r"[\d,]*\d(\.\d+)?", cell)]
    ours = [number for each in paper.tables if each.read_at == f"Table {table}" for row in each.rows
            for number in numbers(row)]  # fmt: skip
    assert sorted(printed) == sorted(ours) and len(ours) > 4


def test_another_number_or_another_place_is_found_out(shared: Path) -> None:
    text = texts.of_paper(shared, "001")
    lines = texts.passages(text, "Table 2")
    assert any(texts.says(line, ["DDI (A)", "Synthetic"], ["0.419", "0.653"]) for line in lines)
    for words, wrong in ((["DDI (A)", "Real"], ["0.419"]), (["DDI (A)"], ["0.653", "0.419"]), (["DDI (A)"], ["0.41"])):
        assert not any(texts.says(line, words, wrong) for line in lines), (words, wrong)
    assert not any(texts.says(sentence, [], ["0.419"]) for sentence in texts.passages(text, "section 3.1"))
    with pytest.raises(LookupError, match="section 9.9: not in this text"):
        texts.passages(text, "section 9.9")


def test_the_numbers_of_images_are_those_that_the_papers_tell() -> None:
    """A setting's N decides what is comparable, so it must be a number that was read."""
    for name in PAPERS:
        cells = read(name).cells()
        told = {cell.value for cell in cells}
        assert {cell.setting.images for cell in cells if cell.setting.images} <= told, name
        assert all(cell.setting.of_real is None for cell in cells), "no paper says with how many real images"


def test_values_and_their_rounding() -> None:
    cells = {cell.key: cell for name in PAPERS for cell in read(name).cells()}
    share = cells["section 3.2, entities", "images: AI", "measure: accuracy"]
    assert (share.text, share.value, share.rounding) == ("89%", 0.89, 0.005)
    ranged = cells["section 3.2, synthetic images alone", "classifier: ViT", "gain: least"]
    assert (ranged.text, ranged.value) == ("1.84%", 0.0184) and ranged.no_stage
    assert cells["section 2.2", "what: trainable parameters"].value == 612e6
    assert cells["section 3.2", "model: unconditional"].value == 30_000
    recall = cells["Table 2", "tested on: DDI", "training: real", "metric: recall"]
    assert (recall.printed, recall.value, recall.rounding) == ("0.070", 0.07, 0.0005)
    assert recall.setting.images == 656 and recall.setting.backbone == "resnext101"
    unread = cells["Table 1", "entity: mel", "metric: FID"]
    assert (unread.value, unread.rounding) == (None, None) and unread.unread


def test_how_much_of_each_paper_is_there() -> None:
    counted = {name: [cell.printed is not None for cell in read(name).cells()] for name in PAPERS}
    assert {name: (len(read_), sum(read_)) for name, read_ in counted.items()} == {
        "glide_ham10000": (162, 52), "dermdit": (85, 85), "dermaflux": (78, 58), "dermasynth": (17, 5),
    }  # fmt: skip


TABLE = {"name": "T", "about": "a", "read_at": "Table 1", "ours": {"stage": "sweep"}}


@pytest.mark.parametrize(("changes", "message"), [
    ({"rows": [{"printed": "1 2"}]}, "2 numbers for 1 columns of T"),
    ({"rows": [{"printed": "about"}]}, "'about': expected a number such as"),
    ({"rows": [{"printed": "."}]}, "was not read; say why"),
    ({"rows": [{"printed": "1"}], "ours": {}}, "nothing tells where ours are"),
    ({"rows": [{"printed": 0.07}]}, "printed"),
])  # fmt: skip
def test_a_table_that_says_too_little_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(Table, TABLE | changes)


def test_two_numbers_of_one_name_and_papers_that_are_none() -> None:
    twice = TABLE | {"rows": [{"printed": "1"}, {"printed": "2"}]}
    with pytest.raises(ConfigError, match="p: two numbers are T"):
        validate(Paper, {"paper": "p", "number": "9", "title": "t", "tables": [twice]}).cells()
    with pytest.raises(ConfigError, match="paper 'dermdiff': expected one of glide_ham10000"):
        read("dermdiff")
