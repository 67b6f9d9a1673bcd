"""BCN20000 in figshare's layout; columns as imatge-upc/BCN20000 (the authors' code) and its readers use them."""

from pathlib import Path

import pytest

from tests.datasets.published import BCN, by_id, preset_sources, rows_of, write


def line(name: str, word: str, lesion: str = "BCN_0003884", split: str = "train", age: str = "55.0") -> str:
    return f"{name},{age},anterior torso,{word},{lesion},2012-05-16,male,{split}\n"


def test_eight_classes_lesions_and_the_official_split(tmp_path: Path) -> None:
    words = ["MEL", "NV", "BCC", "BKL", "AK", "SCC", "DF", "VASC"]
    lines = [line(f"BCN_000000000{i}.jpg", word, f"BCN_{i}") for i, word in enumerate(words)]
    header = BCN.replace("diagnosis,", "")
    test = header + "BCN_0000000042.jpg,,,BCN_9,2013-01-01,,test\n"
    given = preset_sources("bcn20000", write(tmp_path, bcn20000=BCN + "".join(lines), bcn20000_test=test))
    read = by_id([row for s in given for row in rows_of(s.pop("source"), s.pop("path"), **s)])
    assert [(r["entity"], r["malignant"]) for r in read.values()] == [
        ("mel", True), ("nv", False), ("bcc", True), ("bkl", False), ("akiec", None), ("other", True), ("df", False),
        ("vasc", False), (None, None)
    ]  # fmt: skip
    last = read["BCN_0000000042.jpg"]
    assert last["split"] == "test" and last["uri"] == f"{tmp_path}/bcn_20k_test/BCN_0000000042.jpg"
    assert (
        read["BCN_0000000000.jpg"]["lesion_id"] == "bcn20000/BCN_0" and read["BCN_0000000000.jpg"]["split"] == "train"
    )


def test_awkward_rows(tmp_path: Path) -> None:
    # github.com/romanpoluden/revela/issues/117: "Explicitly decide how to handle missing/unknown diagnosis rows": null;
    # its paper's ninth class, OOD, is nothing known; the column split wins over nothing and a strange one is rejected
    lines = [line("1.jpg", ""), line("2.jpg", "OOD", split="test"), line("3.jpg", "Nevus"),
             line("4.jpg", "NV", "", age="150"), line("5.jpg", "NV", split="fold 3")]  # fmt: skip
    missing, ood, strange, nobody, fold = rows_of("bcn20000", write(tmp_path, bcn20000=BCN + "".join(lines)))
    assert (missing["diagnosis"], missing["malignant"], missing.get("status")) == (None, None, None)
    assert (ood["diagnosis"], ood["malignant"], ood["split"]) == ("OOD", None, "test")
    assert strange["status"] == "rejected" and strange["malignant"] is None, "the archive's words are another table"
    assert nobody["lesion_id"] is None and nobody["age"] is None and nobody["cell_issues"][0].startswith("age_approx")
    assert fold["status"] == "rejected" and fold["reason"].startswith("bad cell: split")


def test_a_training_table_without_diagnoses_is_refused(tmp_path: Path) -> None:
    write(tmp_path, bcn20000=BCN.replace("diagnosis,", "") + "1.jpg,55,torso,L,2012,male,train\n")
    with pytest.raises(ValueError, match=r"columns \['diagnosis'\] are missing"):
        rows_of("bcn20000", tmp_path)
