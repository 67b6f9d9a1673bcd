import csv
import io
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.datasets import tables
from dermray.datasets.tables import Record, coverage, lookup, open_table, records, survey


def rows(path: Path, required: list[str], **given: str) -> list[Record]:
    found = survey(open_table(str(path), required, **given))
    read = [record for chunk in found.chunks for record in records(found.table, chunk)]
    assert len(read) == found.rows
    return read


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_encodings_and_line_ends(tmp_path: Path, delimiter: str, encoding: str, ending: str) -> None:
    lines = [["image", "Größe", "note"], ["a.png", "3,5", "é"], ["b.png", "x", "two\nlines"], ["c.png", "", "end"]]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(lines)
    read = rows(written(tmp_path, buffer.getvalue(), encoding), ["image", "Größe"])
    assert [r.cells for r in read] == lines[1:]
    assert [r.line for r in read] == [2, 3, 5]


def test_what_it_took_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "image;größe;extra\na;1;2\n", "cp1252")
    assert survey(open_table(str(path), ["image"])).facts() == {
        "path": str(path), "rows": 1, "bad_rows": 0, "encoding": "cp1252", "delimiter": "semicolon",
        "columns_not_read": ["größe", "extra"],
    }  # fmt: skip


def test_one_odd_byte_in_the_last_line_is_enough_to_know_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"image,name\n" + b"a,plain\n" * 60_000 + b"b,Ren\xe9\n")
    assert rows(path, ["image"])[-1].cells == ["b", "René"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "an Excel workbook or ZIP file"),
        (b"\x1f\x8brest", "a gzip file"),
        (b"image,b\na,\x81\x8d\n", "no utf-8 or cp1252 text; save the table as UTF-8, or name its encoding"),
        (b"", "the table is empty"),
        (b"image,b\n", "a header and no rows"),
        (b"image,b,b\n1,2,3\n", r"columns \['b'\] are there more than once"),
        (b"img,b\n1,2\n", r"columns \['image'\] are missing.*the table has \['img', 'b'\]"),
        (b"Images,b\n1,2\n", r"columns \['image'\] are missing \(the nearest: \['Images'\]\)"),
        (
            b'image,b\na,"open\nb,2\nc,3\n',
            "line 2: lines 2 to 4 read as one row, because a quotation mark is not closed",
        ),
        (b'image,b\na,"open\nb,2\nc,"3"\n', "line 2: lines 2 to 4 read as one row"),
        (b'image,b,c\na,"5 inch,x\nb,7 inch",y\n', "line 2: lines 2 to 3 read as one row"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_clearly(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rows(tmp_path / "t.csv", ["image"])


def test_no_such_file_and_no_such_encoding(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such metadata table"):
        open_table(str(tmp_path / "none.csv"), ["a"])
    with pytest.raises(ValueError, match="encoding='latin-9000': expected a name that Python knows"):
        open_table(str(written(tmp_path, "a\n1\n")), ["a"], encoding="latin-9000")


def test_the_folder_that_an_archive_holds_is_offered(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("pad/metadata.csv", "a\n1\n")
    with pytest.raises(FileNotFoundError, match=r"check the source's path, or give .*x\.zip/pad$"):
        open_table(str(tmp_path / "x.zip" / "metadata.csv"), ["a"])
    assert open_table(str(tmp_path / "x.zip" / "pad" / "metadata.csv"), ["a"]).columns


def test_short_and_long_rows_are_named_and_none_is_lost(tmp_path: Path) -> None:
    read = rows(written(tmp_path, "image,dx,site\na,nv,arm\nb,nv\n\nc,mel,leg, left\nd,nv,ear,\n"), ["image"])
    assert [(r.line, r.problem is None) for r in read] == [(2, True), (3, False), (5, False), (6, True)]
    assert read[1].problem is not None and "2 cells, expected the header's 3" in read[1].problem
    assert read[1].problem.endswith("@ t.csv line 3")
    assert read[3].cells == ["d", "nv", "ear"], "a delimiter at the end of a line adds no cell"


def test_a_stray_quotation_mark_costs_its_row_only(tmp_path: Path) -> None:
    read = rows(written(tmp_path, 'image,dx\na,"nv" x\nb,nv\n'), ["image"])
    assert [r.problem is None for r in read] == [False, True]


def test_column_names_match_despite_case_and_space(tmp_path: Path) -> None:
    path = written(tmp_path, " Patient ID ,IMAGE,Age,age \nP1,a,5,6\n")
    table = open_table(str(path), ["patient_id", "image"], ["site", "isic_id|image"])
    assert table.positions == {"patient_id": 0, "image": 1, "isic_id": 1}
    assert table.columns_not_read == ["Age", "age"]
    with pytest.raises(ValueError, match=r"columns \['AGE'\] are missing"):  # two are as near
        open_table(str(path), ["AGE"])


def test_the_words_of_a_column_are_counted_whatever_their_case(tmp_path: Path) -> None:
    found = survey(open_table(str(written(tmp_path, "i,dx\n1,MEL\n2,mel \n3,nv\n4\n")), ["i", "dx"]), {"dx": []})
    assert found.words == {"dx": {"MEL": 2, "nv": 1}} and found.bad_rows == 1


def test_words_that_must_not_be_missed_are_counted_among_thousands(tmp_path: Path) -> None:
    text = "i,dx\n" + "".join(f"{i},word {i}\n" for i in range(3000))
    found = survey(open_table(str(written(tmp_path, text)), ["dx"]), {"dx": ["WORD 2999"]})
    assert found.words["dx"]["word 2999"] == 1 and "word 2998" not in found.words["dx"]


def _lines_are_no_rows(cells: list[str]) -> bool:
    """A record that two stray quotation marks could have made of several is refused: see the table above."""
    return any(line.count(",") != 2 for line in re.split(r"\r\n|\r|\n", ",".join(cells)))


def test_a_text_of_several_lines_is_one_cell(tmp_path: Path) -> None:
    read = rows(
        written(tmp_path, 'image,note,site\na,"grew, fast\nitches, bleeds, since May",leg\nb,"x\ny",ear\n'), ["image"]
    )
    assert [r.cells[2] for r in read] == ["leg", "ear"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=3, max_size=3
        ).filter(lambda cells: _lines_are_no_rows(cells) or not set("\r\n") & set("".join(cells))),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_chunks_hold_every_row_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "chunks.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["a", "b", "c"], *lines])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROWS_PER_CHUNK", size)
        found = survey(open_table(str(path), ["a"]))
    assert [r.cells for chunk in found.chunks for r in records(found.table, chunk)] == lines
    assert all(chunk.records <= size for chunk in found.chunks)


def test_the_first_line_of_a_table_without_a_header_is_a_row(tmp_path: Path) -> None:
    table = open_table(
        str(written(tmp_path, "ISIC_1,benign\nISIC_2,malignant\n")), ["label"], columns=["name", "label"]
    )
    found = survey(table)
    read = [record.cells for chunk in found.chunks for record in records(found.table, chunk)]
    assert read == [["ISIC_1", "benign"], ["ISIC_2", "malignant"]] and found.table.columns_not_read == ["name"]
    with pytest.raises(ValueError, match="no rows"):
        survey(open_table(str(written(tmp_path, "")), ["label"], columns=["name", "label"]))


def test_tables_that_are_looked_up(tmp_path: Path) -> None:
    truth = survey(open_table(str(written(tmp_path, "image,MEL\na,1\nb,0\nz,0\n")), ["image", "MEL"]))
    by_image = lookup(truth, "image")
    assert by_image["a"] == {"image": "a", "MEL": "1"}
    (tmp_path / "m.csv").write_text("image\na\nb\nc\n")
    metadata = survey(open_table(str(tmp_path / "m.csv"), ["image"]))
    assert coverage(metadata, "image", by_image) == {"rows_without_label": 1, "labels_without_row": 1}
    with pytest.raises(ValueError, match="none of its 3 rows is in the table of labels"):
        coverage(metadata, "image", {"q": {}})
    (tmp_path / "twice.csv").write_text("image,MEL\na,1\na,0\n")
    with pytest.raises(ValueError, match="twice.csv line 3: image='a' is there a second time"):
        lookup(survey(open_table(str(tmp_path / "twice.csv"), ["image", "MEL"])), "image")


def test_one_strange_byte_does_not_spoil_the_accents_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\n1,Mélanome\n2,naevus bénin\n".encode() + b"3,caf\xe9\n")
    with pytest.raises(ValueError, match="UTF-8 but for 1 byte.*line 4"):
        open_table(str(tmp_path / "t.csv"), ["a"])
    assert rows(tmp_path / "t.csv", ["a"], encoding="cp1252")
    (tmp_path / "t.csv").write_bytes("a,b\n1,Mélanome\n".encode("cp1252"))
    assert rows(tmp_path / "t.csv", ["a"])
