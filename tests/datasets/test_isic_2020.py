"""ISIC 2020 beyond its training table (test_sources.py): its test set, its lesions, what "unknown" means."""

from collections import Counter
from pathlib import Path

import pytest

from tests.datasets.published import rows_of, write

HEADER = (
    "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
)


def test_the_test_set_has_patients_and_no_labels(tmp_path: Path) -> None:
    write(
        tmp_path,
        isic_2020_test="image,patient,age_approx,sex,anatom_site_general\nISIC_0052060,IP_3579794,70,male,\n"
        "ISIC_0052349,NA,40,male,lower extremity\n",
    )
    settings = {"table": "ISIC_2020_Test_Metadata.csv", "images": "ISIC_2020_Test_Input", "split": "test"}
    with pytest.raises(ValueError, match=r"columns \['diagnosis', 'target'\] are missing"):
        rows_of("isic_2020", tmp_path, **settings)
    one, two = rows_of("isic_2020", tmp_path, labels=False, **settings)
    assert (one["patient_id"], one["malignant"], one["split"]) == ("isic_2020/IP_3579794", None, "test")
    assert one["uri"] == f"{tmp_path}/ISIC_2020_Test_Input/ISIC_0052060.jpg"
    assert two["patient_id"] is None, "NA is nobody"


def test_version_2_unknown_diagnoses_and_a_target_that_contradicts_the_diagnosis(tmp_path: Path) -> None:
    # github.com/ngessert/isic2019/issues/5: "there aren't specific lesion types provided for all images" of 2020
    lines = ["ISIC_2637011,IP_7279968,IL_7972535,male,45.0,head/neck,unknown,benign,0",
             "ISIC_0149568,IP_0962375,IL_1,female,55.0,upper extremity,melanoma,malignant,1",
             "ISIC_0000001,IP_1,IL_2,female,55.0,torso,melanoma,benign,0",
             "ISIC_0000002,IP_1,IL_3,female,55.0,torso,lentigo maligna,malignant,1"]  # fmt: skip
    (tmp_path / "v2.csv").write_text(HEADER + "\n".join(lines))
    unknown, melanoma, torn, strange = rows_of("isic_2020", tmp_path, table="v2.csv")
    assert (unknown["diagnosis"], unknown["entity"], unknown["malignant"]) == (None, None, False)
    assert (melanoma["lesion_id"], melanoma["malignant"]) == ("isic_2020/IL_1", True)
    assert torn["malignant"] is None and torn["cell_issues"]
    assert strange["status"] == "rejected" and strange["reason"].endswith("'lentigo maligna'")


def test_no_row_of_the_real_table_has_an_unknown_label(shared: Path) -> None:
    read_ = rows_of("isic_2020", shared / "metadata")
    assert all(row.get("status") is None for row in read_)
    # Rotemberg et al. 2021: 33,126 images, 584 melanomas
    assert Counter(row["malignant"] for row in read_) == {False: 33126 - 584, True: 584}
