"""HIBA: a collection of the ISIC archive, in the archive's form."""

from pathlib import Path

from tests.datasets.published import ARCHIVE, by_id, preset_sources, rows_of, write

WORDS = "Malignant,Malignant adnexal epithelial proliferations - Follicular,Basal cell carcinoma"
PSORIASIS = "Benign,Inflammatory or infectious diseases,Psoriasis"  # no word of the tree


def line(name: str, tone: str, kind: str, rest: str, levels: str = WORDS, age: str = "70") -> str:
    return f"{name},Hospital Italiano de Buenos Aires,CC-BY,{age},Head and neck,{levels},{tone},,{kind},{rest}\n"


def test_both_kinds_of_image_of_a_lesion_stay_together(tmp_path: Path) -> None:
    lines = [line("ISIC_0000001", "II", "dermoscopic", "IL_1,IP_1,female"),
             line("ISIC_0000002", "II", "clinical: close-up", "IL_1,IP_1,female"),
             line("ISIC_0000003", "", "clinical: overview", ",,", age="85+"),
             line("ISIC_0000004", "IV-V", "dermoscopic", "IL_2,IP_2,male", PSORIASIS)]  # fmt: skip
    [given] = preset_sources("hiba", write(tmp_path, archive=ARCHIVE + "".join(lines)))
    read = by_id(rows_of(given.pop("source"), given.pop("path"), **given))
    one, two, nobody, strange = read.values()
    assert one["lesion_id"] == two["lesion_id"] == "hiba/IL_1" and one["patient_id"] == "hiba/IP_1"
    assert [row["modality"] for row in read.values()] == ["dermoscopic", "clinical", "clinical", "dermoscopic"]
    assert (one["entity"], one["malignant"], one["fitzpatrick"], one["source"]) == ("bcc", True, 2, "hiba")
    # three awkward rows: nobody's, of an open age, without a skin type; a type between two; a word that is not in the
    # archive's tree (github.com/ImageMarkup/isic-cli/issues/43 asks for a public mapping of its words)
    assert nobody["patient_id"] is nobody["lesion_id"] is nobody["fitzpatrick"] is None and nobody["age"] == 85.0
    assert strange["fitzpatrick"] is None and strange["cell_issues"][0].startswith("fitzpatrick_skin_type: expected")
    assert strange["status"] == "rejected" and strange["reason"].endswith("'Psoriasis'")
    assert one["uri"] == f"{tmp_path}/ISIC_0000001.jpg", "isic-cli writes images beside metadata.csv"


def test_words_that_a_user_adds_to_the_archives(tmp_path: Path) -> None:
    write(tmp_path, archive=ARCHIVE + line("ISIC_1", "II", "dermoscopic", "IL_1,IP_1,female", PSORIASIS))
    (tmp_path / "more.yaml").write_text("Psoriasis: {entity: other, malignant: false}\n")
    [row] = rows_of("hiba", tmp_path, more_labels=str(tmp_path / "more.yaml"))
    assert (row["entity"], row["malignant"], row.get("status")) == ("other", False, None)
