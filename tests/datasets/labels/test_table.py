"""Reviewed tables of labels: what they know, and what they make of words that they do not know."""

from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import ValidationError

from dermray.datasets.cells import Cells
from dermray.datasets.labels.table import Label, label, labels_of, parsed

TABLES = sorted(p.name[:-5] for p in files("dermray.datasets.labels").iterdir() if p.name.endswith(".yaml"))
NEITHER = {"akiec", "other", None}  # entities that hold malignant and benign diseases


@pytest.mark.parametrize("source", TABLES)
def test_no_table_contradicts_the_seven_entities(source: str) -> None:
    for word, meaning in labels_of(source).items():
        if meaning.entity not in NEITHER:
            assert meaning.malignant is (meaning.entity in ("mel", "bcc")), word


def test_words_are_compared_in_their_plain_form_and_kept_verbatim() -> None:
    labels = labels_of("pad_ufes_20")
    assert label(Cells({"d": " bcc "}), "d", labels) == {"diagnosis": "bcc", "entity": "bcc", "malignant": True}
    assert label(Cells({"d": "N/A"}), "d", labels) == {"diagnosis": None, "entity": None, "malignant": None}


def test_a_word_that_the_table_does_not_know_rejects_its_row() -> None:
    row = label(Cells({"d": "Merkel cell carcinoma"}, "t.csv line 7"), "d", labels_of("ham10000"))
    assert (row["diagnosis"], row["entity"], row["malignant"]) == ("Merkel cell carcinoma", None, None)
    assert row["status"] == "rejected" and row["reason"].endswith("@ t.csv line 7: 'Merkel cell carcinoma'")


def test_users_add_words_and_change_none(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("NO: {entity: other, malignant: false}\nMEL: {entity: mel, malignant: true}\n")
    labels = labels_of("ham10000", str(more))
    assert labels["no"] == Label("other", False), "YAML's own NO is a word here"
    assert labels["mel"] == labels_of("ham10000")["mel"]
    other = tmp_path / "other.yaml"
    other.write_text("mel: {entity: nv, malignant: false}\n")
    with pytest.raises(ValueError, match=r"other.yaml: \['mel'\] mean something else"):
        labels_of("ham10000", str(other))
    with pytest.raises(FileNotFoundError, match="none.yaml"):
        labels_of("ham10000", str(tmp_path / "none.yaml"))


def test_tables_that_say_a_word_twice_or_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="'Nv' is there twice"):
        parsed("nv: {entity: nv}\nNv: {entity: nv}", "t")
    with pytest.raises(ValueError, match=r"\['nv'\] twice"):
        parsed("nv: {entity: nv}\nnv: {entity: nv}", "t")
    with pytest.raises(ValidationError, match="entity"):
        parsed("nv: {entity: naevus}", "t")
