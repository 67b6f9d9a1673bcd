import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.datasets.cells import (
    AGES,
    MODALITY,
    SEX,
    SKIN_TONE,
    TRUTH,
    BadCell,
    Cells,
    age,
    fitzpatrick,
    is_missing,
    parse,
    plain,
)
from dermray.records import kind


@pytest.mark.parametrize(
    "text",
    ["", " ", "NA", "n/a", " N/A ", "unknown", "Unknown", "UNK", "none", "NULL", "null", "nan", "-", "--", "?", "—"],
)
def test_what_means_nothing(text: str) -> None:
    assert is_missing(text) and is_missing(f"  {text.upper()} ")
    assert Cells({"patient": text}).identity("patient", "clinic") is None


@pytest.mark.parametrize("text", ["0", "1", "no", "P1", "naevus", "unknown primary", "benign", "false"])
def test_what_means_something(text: str) -> None:
    assert not is_missing(text)


def test_a_config_adds_words_that_mean_nothing() -> None:
    cells = Cells({"age": "k. A.", "patient": "K. a. "}, missing=["k. a."])
    assert cells.read("age", age) is None and cells.identity("patient", "c") is None and not cells.issues


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("55", 55), ("55.0", 55), ("040", 40), ("45,5", 45.5), ("85+", 85), (">=85", 85), ("≥ 85", 85), ("0", 0),
        ("40-45", 42.5), ("40 \u2013 45", 42.5), ("40 to 49", 44.5), ("45 years", 45), ("45y", 45), ("120", 120),
        ("\uff14\uff15", 45),
    ],
)  # fmt: skip
def test_ages_as_people_write_them(text: str, years: float) -> None:
    assert age(text) == years


@pytest.mark.parametrize(
    "text", ["-1", "999", "inf", "-inf", "121", "1e999", "1,200", "20-80", "45-40", "old", "4 5", "1990-01-01", "++"]
)
def test_ages_that_make_no_sense(text: str) -> None:
    with pytest.raises(BadCell, match="expected years from 0 to 120"):
        age(text)


@given(st.text(max_size=12))
def test_an_age_is_in_range_or_refused(text: str) -> None:
    try:
        years = age(text)
    except BadCell:
        return
    assert math.isfinite(years) and AGES[0] <= years <= AGES[1]


@given(st.floats(0, 120))
def test_a_number_in_range_is_itself(years: float) -> None:
    assert age(f"{years:.6f}") == pytest.approx(years, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "kind"), [("1", 1), ("6.0", 6), (" III ", 3), ("type iv", 4), ("FST5", 5), ("Skin type 2", 2), ("Ⅵ", 6)]
)
def test_fitzpatrick_types(text: str, kind: int) -> None:
    assert fitzpatrick(text) == kind


@pytest.mark.parametrize("text", ["0", "-1", "7", "9", "2.5", "I-II", "12", "VII", "dark"])
def test_what_is_no_fitzpatrick_type(text: str) -> None:
    with pytest.raises(BadCell, match="expected a Fitzpatrick type"):
        fitzpatrick(text)


@given(st.text(max_size=8))
def test_a_fitzpatrick_type_is_one_of_six_or_refused(text: str) -> None:
    try:
        assert fitzpatrick(text) in range(1, 7)
    except BadCell:
        return


def test_words_whatever_their_case() -> None:
    assert parse(" FEMALE ", SEX) == parse("f", SEX) == "female" and parse("Male", SEX) == "male"
    assert parse("Malignant", TRUTH) is True and parse("0.0", TRUTH) is False
    assert [parse(tone, SKIN_TONE) for tone in ("12", "34", "56", "a", "V\u2013VI")] == ["A", "B", "C", "A", "C"]
    assert parse("clinical: close-up", MODALITY) == "clinical" and parse("Dermoscopy", MODALITY) == "dermoscopic"
    with pytest.raises(BadCell, match="expected female"):
        parse("m?", SEX)


def test_a_bad_cell_is_null_with_file_line_column_and_value() -> None:
    cells = Cells({"age": "999", "sex": "f"}, "t.csv line 7")
    assert cells.read("age", age) is None and cells.read("sex", SEX) == "female" and cells.read("site", plain) is None
    assert len(cells.issues) == 1 and cells.issues[0].endswith("@ t.csv line 7: '999'")
    assert kind(cells.issues[0]) == "age: expected years from 0 to 120, or a range of at most 10 of them"


def test_one_hot() -> None:
    assert Cells({"MEL": "0", "NV": "1.0", "UNK": "0"}).one_hot(["MEL", "NV", "UNK"]) == "NV"
    nothing, both = Cells({"MEL": "0", "NV": "0"}), Cells({"MEL": "1", "NV": "1"})
    assert nothing.one_hot(["MEL", "NV"]) is None and both.one_hot(["MEL", "NV"]) is None and len(both.issues) == 1


def test_translation_by_a_config() -> None:
    cells = Cells({"malignant": "Non-Neoplastic ", "skin_tone": "?"})
    cells.translate({"malignant": {"non-neoplastic": "False"}, "skin_tone": {"?": "C"}})
    assert cells.read("malignant", TRUTH) is False and cells.read("skin_tone", SKIN_TONE) == "C"
