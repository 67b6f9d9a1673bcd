"""Published numbers of images against the documentation's table, and what lies there against what was put there."""

import re
from pathlib import Path

import pytest

from dermray.datasets.licences import _table as licences
from dermray.datasets.sources import SOURCES, source
from dermray.planning import datasets
from dermray.planning.datasets import images_of

DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"
NOT_PUBLISHED = {"phantom", "webdataset", "hf_dataset", "folder"}


@pytest.mark.parametrize("name", sorted(datasets.published()))
def test_numbers_are_those_of_the_table_of_data_sets(name: str) -> None:
    """Numbers that two folders or classes have there are added up here."""
    (line,) = [line for line in DOCS.read_text().splitlines() if f"| `{name}` |" in line]
    told = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", line.split("|")[3])]
    known = datasets.published()[name].images
    assert all(number in told or number == sum(told) for number in known.values()), (known, told)
    assert datasets.published()[name].place in line


@pytest.mark.parametrize("name", sorted(datasets.published()))
def test_a_layout_names_the_table_that_its_source_reads(name: str) -> None:
    layout, fields = datasets.published()[name].layout, source(name).SourceConfig.model_fields
    table = fields["table"].default if "table" in fields else None
    assert Path(table).name in layout if table else "folder" in layout or ".csv" in layout


def test_every_published_source_is_known() -> None:
    assert set(datasets.published()) == set(SOURCES) - NOT_PUBLISHED == set(licences()["sources"]) - {"phantom"}


def test_what_lies_there_is_counted(tmp_path: Path) -> None:
    """A part of a data set is as large as it is, whatever its publisher has."""
    given = {"source": "ham10000", "path": str(tmp_path), "table": "t.csv", "images": "."}
    published = images_of(given)
    assert (published.value, published.basis) == (10_015, "published") and "doi.org" in published.why
    (tmp_path / "t.csv").write_text("image_id,dx\n" + "".join(f"ISIC_{n},nv\n" for n in range(7)))
    assert (images_of(given).value, images_of(given).basis) == (7, "measured")


def test_class_folders_phantoms_and_the_unknown(tmp_path: Path) -> None:
    for name in ("mel/1.jpg", "mel/2.jpg", "nv/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not opened")
    folder = images_of({"source": "folder", "path": str(tmp_path), "malignant_classes": ["mel"]})
    assert (folder.value, folder.basis) == (3, "measured")
    assert (images_of({"source": "phantom", "count": 50}).value, images_of({"source": "phantom"}).basis) == (
        50, "computed",
    )  # fmt: skip
    none = images_of({"source": "isic_archive", "path": str(tmp_path / "none")})
    assert none.value is None and "no published number" in none.why
    test_set = images_of({"source": "ham10000", "path": str(tmp_path / "none"), "split": "test"})
    assert test_set.value == 1_511


def test_an_entry_without_split_has_as_many_as_its_table() -> None:
    train = {"source": "derm12345", "path": "nowhere"}
    test = train | {"table": "derm12345_metadata_test.csv", "images": "derm12345_test"}
    assert (images_of(train).value, images_of(test).value) == (9_860, 2_485)
    assert images_of({"source": "milk10k", "path": "nowhere"}).value == 10_480
