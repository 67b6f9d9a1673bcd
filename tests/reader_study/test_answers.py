"""Forms as people send them back."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermray.config import ConfigError, validate
from dermray.manifest import Result
from dermray.reader_study import analyse, answers, key
from dermray.reader_study.answers import Reader
from dermray.reader_study.questions import questions
from dermray.reader_study.settings import AnalyseConfig
from tests.reader_study import made


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return made.built(str(tmp_path_factory.mktemp("answers")), 1)


def read(study: Result, *files: Path | str) -> list[Reader]:
    opened, name = key.opened(study)
    asked = questions(opened.column, opened.classes)
    return answers.read([str(file) for file in files], name, [image.image for image in opened.images], asked)


def filled(study: Result, path: Path) -> list[list[str]]:
    """A form with right answers, as cells."""
    text = Path(made.answer(study, path)).read_text()
    return list(csv.reader(io.StringIO(text)))


def write(path: Path, lines: list[list[str]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(lines)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def all_right(study: Result, reader: Reader) -> bool:
    images = made.opened(study).images
    first, second = reader.answers
    said = [first.question.classes[number] for number in first.said.tolist()]
    origin = [second.question.classes[number] for number in second.said.tolist()]
    return said == [image.truth for image in images] and origin == [image.origin for image in images]


def fill_workbook(study: Result, path: Path, change: Callable[[Any], None] = lambda sheet: None) -> Path:
    """The Excel form with right answers, saved again."""
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(made.files(study)["answers.xlsx"]))
    shown = {image.image: image for image in made.opened(study).images}
    for row in book["answers"].iter_rows(min_row=2):
        row[2].value, row[4].value = shown[row[1].value].truth, shown[row[1].value].origin
        row[3].value = 80
    change(book["answers"])
    book.save(path)
    return path


def test_excel_and_csv_of_any_make(study: Result, tmp_path: Path) -> None:
    lines = filled(study, tmp_path / "plain.csv")
    german = write(tmp_path / "german.csv", lines, ";", "cp1252")
    turned = write(tmp_path / "turned.csv", [lines[0], *lines[:0:-1], [""] * 6], "\t", "utf-16")
    shouting = [[cell.upper().replace("_", " ") for cell in lines[0]]]
    shouting += [
        [name, image, f" {word.upper()} ", "", kind.lower(), ""] for name, image, word, _, kind, _ in lines[1:]
    ]
    loud = write(tmp_path / "loud.csv", shouting)
    book = fill_workbook(study, tmp_path / "ada.xlsx")
    readers = read(study, tmp_path / "plain.csv", german, turned, loud, book)
    assert [reader.name for reader in readers] == ["plain", "german", "turned", "loud", "ada"]
    assert all(all_right(study, reader) for reader in readers)
    assert readers[-1].answers[0].confident and not readers[-1].answers[1].confident
    assert np.allclose(readers[-1].answers[0].sure, 0.8)


def test_other_columns_and_their_order_do_not_matter(study: Result, tmp_path: Path) -> None:
    lines = [["remark", *line[::-1]] for line in filled(study, tmp_path / "a.csv")]
    [reader] = read(study, write(tmp_path / "b.csv", lines))
    assert all_right(study, reader)


def changed(row: int, column: int, text: str) -> Callable[[list[list[str]]], list[list[str]]]:
    def change(lines: list[list[str]]) -> list[list[str]]:
        return [
            [text if (i, j) == (row, column) else cell for j, cell in enumerate(line)] for i, line in enumerate(lines)
        ]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(3, 1, "999.png"), r"bad.csv line 4: image='999.png' is not in the study; expected 001.png to 014.png"),
        (changed(3, 1, ""), r"bad.csv line 4: image='' is not in the study"),
        (
            changed(3, 1, "001.png"),
            r"line 4: image='001.png' is there a second time, first in bad.csv line 2; keep one",
        ),
        (changed(3, 2, "melanom"), r"bad.csv line 4: entity='melanom': no known answer; expected one of akiec"),
        (changed(3, 4, "both"), r"line 4: origin='both': no known answer; expected one of original .*, AI \(made"),
        (changed(3, 3, "0.8"), r"line 4: entity_confidence='0.8': expected a whole number from 0"),
        (changed(3, 3, "101"), r"line 4: entity_confidence='101': expected a whole number from 0"),
        (changed(3, 0, "study-0123456789abcdef"), r"answers to another study \(bad.csv line 4 says 'study-0123"),
        (changed(3, 0, ""), r"answers to another study \(bad.csv line 4 says 'nothing'"),
        (changed(0, 2, "enttity"), r"columns \['entity'\] are missing"),
        (changed(0, 0, "id"), r"columns \['study'\] are missing"),
        (lambda lines: lines[:1], r"a header and no"),
        (lambda lines: [[*line, line[1]] for line in lines], r"columns \['image'\] are there more than once"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_what_is_wrong_is_named(study: Result, tmp_path: Path, change: Any, message: str, kind: str) -> None:
    lines = change(filled(study, tmp_path / "a.csv"))
    path = tmp_path / f"bad.{kind}"
    if kind == "csv":
        write(path, lines)
    else:
        from openpyxl import Workbook

        book = Workbook()
        for line in lines:
            book.active.append([cell or None for cell in line])
        book.save(path)
        message = message.replace("bad.csv", "bad.xlsx")
    with pytest.raises(ValueError, match=message):
        read(study, path)


def test_a_line_of_too_many_cells(study: Result, tmp_path: Path) -> None:
    lines = [*filled(study, tmp_path / "a.csv"), ["x"] * 9]
    with pytest.raises(
        ValueError, match=r"bad.csv line 16: table row of 9 cells, expected the header's 6; complete it"
    ):
        read(study, write(tmp_path / "bad.csv", lines))


def test_files_that_are_no_tables(study: Result, tmp_path: Path) -> None:
    picture = made.files(study)["images/001.png"]
    for name in ("a.xlsx", "a.csv"):
        (tmp_path / name).write_bytes(picture)
    with pytest.raises(ValueError, match=r"a.xlsx: no Excel workbook .*; save the answers as .xlsx or CSV"):
        read(study, tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=r"a.csv: "):
        read(study, tmp_path / "a.csv")
    fill_workbook(study, tmp_path / "b.xlsx").rename(tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"b.csv: an Excel workbook or ZIP file, expected a table as text"):
        read(study, tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"c.csv: the table is empty"):
        read(study, tmp_path / "c.csv")
    with pytest.raises(FileNotFoundError, match=r"answers=.*d.csv: no such file"):
        read(study, tmp_path / "d.csv")
    with pytest.raises(ValueError, match="a directory, expected a reader's CSV file or Excel workbook"):
        read(study, tmp_path)


def test_an_excel_form_without_openpyxl(study: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = fill_workbook(study, tmp_path / "ada.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"openpyxl: pip install 'dermray\[reader-study\]', or use CSV"):
        read(study, book)


def test_the_sheet_of_answers_is_found(study: Result, tmp_path: Path) -> None:
    def before_another(sheet: Any) -> None:
        sheet.parent.create_sheet("notes", 0).append(["nothing"])

    [reader] = read(study, fill_workbook(study, tmp_path / "ada.xlsx", before_another))
    assert all_right(study, reader)


def test_readers_have_names_of_their_own(study: Result, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = made.answer(study, tmp_path / "a.csv"), made.answer(study, tmp_path / "b" / "a.csv")
    with pytest.raises(ValueError, match="several files are named a; name each after its reader"):
        read(study, first, second)
    with pytest.raises(ConfigError, match="expected each file once"):
        validate(AnalyseConfig, {"study": "s", "output": "o", "answers": [first, first]})


def test_answers_to_another_study_of_the_same_images(study: Result, tmp_path: Path) -> None:
    """Its key has another random number, so it is another study."""
    other = made.built(str(tmp_path), 1)
    form = made.answer(other, tmp_path / "a.csv")
    with pytest.raises(
        ValueError, match=rf"answers to another study .*this one is '{study.manifest.metrics['study']}'"
    ):
        read(study, form)


def test_a_key_that_was_changed_is_found(tmp_path: Path) -> None:
    study = made.built(str(tmp_path), 1)
    form, file = made.answer(study, tmp_path / "a.csv"), Path(study.data, "sealed", "key.json")
    before = file.read_text()
    config = validate(AnalyseConfig, {"study": study.uri, "answers": [form], "output": f"{tmp_path}/o"})
    file.write_text(before.replace('"origin":"AI"', '"origin":"original"').replace('"AI"', '"original"', 1))
    assert file.read_text() != before
    with pytest.raises(ValueError, match=r"key.json: this is not the key that was sealed .*the manifest says"):
        analyse.run(config)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="the study's key is not there; put it back"):
        analyse.run(config)
    file.write_text(before)
    about = Path(study.data, "readers", "study.json")
    about.write_text(about.read_text().replace(study.manifest.metrics["commitment"], "0" * 64))
    with pytest.raises(ValueError, match=r"not the key that was sealed .*readers/study.json says 000"):
        analyse.run(config)
    about.write_text("{")
    with pytest.raises(ValueError, match=r"study.json: damaged"):
        analyse.run(config)
    assert not Path(f"{tmp_path}/o").exists()


def test_scores_of_answers(study: Result) -> None:
    """A certain yes, an unsure yes, an unsure no, a certain no."""
    asked = questions("malignant", ("benign", "malignant"))[0]
    said, sure = np.array([1, 1, 0, 0]), np.array([1.0, 0.2, 0.2, 1.0])
    assert answers.Answer(asked, said, sure).scores()[:, 1].tolist() == [1.0, 0.6, 0.4, 0.0]
    hard = answers.Answer(asked, said, np.array([1.0, np.nan, 0.2, 1.0]))
    assert not hard.confident and hard.scores()[:, 1].tolist() == [1.0, 1.0, 0.0, 0.0]
