import csv
import io
import re

import pytest

from dermray.config import validate
from dermray.papers import shown
from dermray.papers.comparison import Row, compare
from dermray.papers.differences import NANO
from dermray.papers.measured import Measured
from dermray.papers.published import PAPERS, Paper, read
from dermray.papers.setting import Setting

SWEEP = {"stage": "sweep", "instance": "ratios", "metric": "accuracy", "role": "mixed", "ratio": "1",
         "real_images": "2500", "backbone": "resnet", "source": "only"}  # fmt: skip
PAPER = validate(Paper, {
    "paper": "p", "number": "9", "title": "Lesions & <more>", "tables": [
        {"name": "Table 1", "about": "accuracy", "read_at": "section 2", "ours": {"stage": "sweep"},
         "setting": {"images": 9100, "data": ["ddi"]}, "unread": "a picture",
         "columns": [{"labels": {"of": "real"}}, {"labels": {"of": "all"}, "never": "it is another measure"}],
         "rows": [{"labels": {"row": "x"}, "ours": {"role": "mixed"}, "printed": "64.68% ."},
                  {"labels": {"row": "y"}, "ours": {"role": "none"}, "printed": "0.070 11,120", "note": "it is odd"}]},
    ],
})  # fmt: skip


@pytest.fixture
def rows() -> list[Row]:
    setting = Setting(images=9000, of_real=1200, data=("ddi",), real_images=2500, synthetic_images=2500)
    return compare(PAPER, [Measured(SWEEP, 0.6512, 0.6, 0.7, 0.5, setting)], "paper")


def test_csv_has_a_line_a_row_with_plain_numbers(rows: list[Row]) -> None:
    lines = list(csv.DictReader(io.StringIO(shown.as_csv(PAPER, rows))))
    assert len(lines) == len(rows) == 4
    first, second, third, fourth = lines
    assert (first["what"], first["published"], first["published_value"]) == ("row x, of real", "64.68%", "0.6468")
    assert [first[name] for name in ("ours", "low", "high", "floor", "our_images", "our_of_real")] == [
        "0.6512", "0.6", "0.7", "0.5", "9000", "1200"
    ]  # fmt: skip
    assert (first["comparable"], first["inside"], first["not_comparable_because"]) == ("True", "True", "")
    assert second["published"] == "" and second["not_comparable_because"] == "a picture; it is another measure"
    assert (third["published"], third["ours"], third["stage"]) == ("0.070", "", "sweep")
    assert fourth["not_comparable_because"] == (
        "it is another measure; no result of sweep in this run has it"
    )  # fmt: skip


def test_ours_is_printed_as_the_papers(rows: list[Row]) -> None:
    percent, unread, share, count = (row.cell for row in rows)
    assert shown.number(0.65123, percent) == "65.12%" and shown.number(0.65123, unread) == "0.6512"
    assert shown.number(0.06, share) == "0.060" and shown.number(10015.0, count) == "10,015"
    assert shown.number(None, share) == "n/a"
    signed = next(cell for cell in read("dermaflux").cells() if cell.printed == "+3.43%")
    assert shown.number(-0.0065, signed) == "-0.65%" and shown.number(0.02, signed) == "+2.00%"


def test_what_was_not_computed_stands_beside_nothing() -> None:
    rows = compare(PAPER, [Measured(SWEEP, None, setting=Setting(data=("ddi",)))], "paper")
    assert shown.counts(rows) == {"numbers": 4, "read": 3, "with_ours": 0, "comparable": 0}
    assert "ours was not computed" in rows[0].reasons
    assert shown.own(rows[0]) == "ratios, mixed, resnet, 1:1", "whose images nobody told"


def test_text_says_each_reason_once_and_rows_name_theirs_by_number(rows: list[Row]) -> None:
    told = shown.text(PAPER, rows).splitlines()
    assert told[2] == "Table 1: accuracy (its numbers as told in section 2)"
    assert told[3] == (
        "  row x, of real: paper 64.68%, ours 65.12%, 60.00% to 70.00%, floor 50.00%, N 9,000 against 1,200, "
        "ratios, mixed, resnet, 1:1, 2500 real + 2500 synthetic, the paper's lies inside"
    )
    assert told[4].endswith("(not comparable: 1, 2)") and told[6].endswith("(not comparable: 2, 3)")
    assert told[7:9] == [
        "  1. not comparable because a picture", "  2. not comparable because it is another measure"
    ]  # fmt: skip
    nano = shown.text(PAPER, compare(PAPER, [rows[0].ours] if rows[0].ours else [], "nano"))
    assert nano.count(NANO) == 1


def test_the_block_is_escaped_and_needs_nothing_else(rows: list[Row]) -> None:
    html = shown.block(PAPER, rows, "paper")
    assert html.lstrip().startswith("<section") and "<head" not in html and "http" not in html
    page = shown.page(PAPER, rows, "paper")
    assert "Lesions &amp; &lt;more&gt;" in page and "<more>" not in page and html.strip() in page
    assert "4 numbers, of which 3 could be read; 2 have ours beside them, and 1 can be compared." in html
    [line] = [line for line in re.split("<tr>", html) if "65.12%" in line and "64.68%" in line]
    assert '<span class="good">the paper&#39;s lies inside</span>' in line and "9,000 against 1,200" in line
    assert (
        "2 not comparable because it is another measure.<br>" in html and 'no <span class="small">1, 2</span>' in html
    )
    assert "<sup>a</sup> it is odd.<br>" in html and "row y, of all <sup>a</sup>" in html
    assert "nano scale" not in html and "nano scale" in shown.block(PAPER, rows, "nano")


def test_a_page_of_each_paper() -> None:
    for name in PAPERS:
        paper = read(name)
        page = shown.page(paper, compare(paper, [], "nano"), "nano")
        assert page.startswith("<!doctype html>") and "src=" not in page
        missing = [cell.text for cell in paper.cells() if cell.text and cell.text not in page]
        assert not missing


def test_markdown_has_every_number_in_its_row_and_column() -> None:
    told = shown.markdown(read("dermdit"))
    assert "| DDI (A), synthetic | 0.419 | 0.653 | 0.322 |" in told
    assert told.count("|---|") == len(read("dermdit").tables)
    of_000 = shown.markdown(read("glide_ham10000"))
    assert "| mel | not read | not read | not read | not read | not read |" in of_000
    assert "Not read: Table 1 is a picture" in of_000
