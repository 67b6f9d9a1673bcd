"""Sources against the public data sets' tables as published; pandas, which knows nothing of us, counts for us."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dermray.config import load, preset
from dermray.datasets import ddi, fitzpatrick17k, ham10000, isic_2019, isic_2020, isic_archive, pad_ufes_20, tables
from dermray.datasets.image_names import image_uris
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.sources import SOURCES, TableConfig, image_roots, open_table, rows, source
from dermray.records import IMAGES, conform


def read(module: Any, config: TableConfig, to_row: Any = None) -> list[dict[str, Any]]:
    """All rows of a source's table, which conform to our columns."""
    found = open_table(config, module.REQUIRED, getattr(module, "OPTIONAL", ()))
    make = partial(to_row or module.to_row, config=config)
    read = [row for chunk in found.chunks for row in rows(found.table, chunk, make, config)]
    conform([{k: v for k, v in row.items() if k != "uri"} for row in read], IMAGES)
    assert found.rows == len(read) and len({row["source_id"] for row in read}) == len(read)
    return read


def published(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def known(read: list[dict[str, Any]], column: str) -> int:
    return sum(row.get(column) is not None for row in read)


def nothing_failed(read: list[dict[str, Any]]) -> bool:
    return all(row.get("status") is None for row in read)


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "ISIC2018_Task3_Test_GroundTruth.csv"])
def test_ham10000_and_its_test_set(shared: Path, name: str) -> None:
    table = published(shared / "metadata" / name)
    read_ = read(ham10000, ham10000.SourceConfig(path=str(shared / "metadata"), table=name))
    assert nothing_failed(read_) and len(read_) == len(table) and not any(row["cell_issues"] for row in read_)
    assert Counter(row["entity"] for row in read_) == Counter(table.dx)
    assert sum(row["malignant"] is True for row in read_) == table.dx.isin(["mel", "bcc"]).sum()
    assert sum(row["malignant"] is None for row in read_) == (table.dx == "akiec").sum()
    assert len({row["lesion_id"] for row in read_}) == table.lesion_id.nunique()
    assert (
        known(read_, "age") == (table.age != "").sum()
        and known(read_, "sex") == table.sex.isin(["female", "male"]).sum()
    )
    assert known(read_, "site") == (~table.localization.isin(["", "unknown"])).sum()
    assert read_[0]["uri"] == f"{shared}/metadata/images/{table.image_id[0]}.jpg"


def test_pad_ufes_20(shared: Path) -> None:
    table = published(shared / "metadata" / "PAD-UFES-20_metadata.csv")
    read_ = read(pad_ufes_20, pad_ufes_20.SourceConfig(path=str(shared / "metadata"), table="PAD-UFES-20_metadata.csv"))
    assert nothing_failed(read_) and len(read_) == len(table) and not any(row["cell_issues"] for row in read_)
    assert Counter(row["diagnosis"] for row in read_) == Counter(table.diagnostic)
    assert sum(row["malignant"] for row in read_) == table.diagnostic.isin(["BCC", "MEL", "SCC"]).sum()
    assert len({row["patient_id"] for row in read_}) == table.patient_id.nunique()
    assert len({row["lesion_id"] for row in read_}) == len(table[["patient_id", "lesion_id"]].drop_duplicates())
    assert Counter(row["fitzpatrick"] for row in read_) == Counter(
        int(float(f)) if f else None for f in table.fitspatrick
    )
    assert (
        known(read_, "skin_tone") == known(read_, "fitzpatrick") and known(read_, "sex") == (table.gender != "").sum()
    )


def test_isic_2019_with_a_modified_metadata_table(shared: Path) -> None:
    folder = shared / "metadata"
    truth = published(folder / "ISIC_2019_Training_GroundTruth.csv").set_index("image").astype(float)
    table = published(folder / "ISIC_2019_Training_Metadata.modified.csv")
    config = isic_2019.SourceConfig(path=str(folder), table="ISIC_2019_Training_Metadata.modified.csv")
    labels = tables.lookup(open_table(config, ["image", *isic_2019.CLASSES], name=config.labels), "image")
    read_ = read(isic_2019, config, partial(isic_2019.to_row, labels=labels))
    assert nothing_failed(read_) and len(read_) == len(table) and not any(row["cell_issues"] for row in read_)
    assert {row["source_id"]: row["diagnosis"] for row in read_} == truth.idxmax(axis=1).to_dict()
    # the added column `target` is 0 for carcinomas: it must not be read
    assert sum(row["malignant"] is True for row in read_) == truth[["MEL", "BCC", "SCC"]].sum().sum()
    assert sum(row["malignant"] is None for row in read_) == truth[["AK", "UNK"]].sum().sum()
    assert {"diagnosis", "benign_malignant", "target"} == set(
        open_table(config, isic_2019.REQUIRED, isic_2019.OPTIONAL).table.columns_not_read
    )
    assert (
        known(read_, "lesion_id") == (table.lesion_id != "").sum()
        and known(read_, "age") == (table.age_approx != "").sum()
    )
    assert (
        known(read_, "site") == (table.anatom_site_general != "").sum()
        and known(read_, "sex") == (table.sex != "").sum()
    )


def test_isic_2019_unknown_and_images_without_a_line_in_the_ground_truth(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,age_approx,anatom_site_general,sex\na,5,,male\nb,5,,male\nc,5,,male\n")
    names = ",".join(isic_2019.CLASSES)
    (tmp_path / "t.csv").write_text(f"image,{names}\na,0,0,0,0,0,0,0,0,1\nb,0,0,0,0,0,0,0,1,0\n")
    config = isic_2019.SourceConfig(path=str(tmp_path), table="m.csv", labels="t.csv")
    labels = tables.lookup(open_table(config, ["image", *isic_2019.CLASSES], name="t.csv"), "image")
    read_ = read(isic_2019, config, partial(isic_2019.to_row, labels=labels))
    assert [(r["diagnosis"], r["entity"], r["malignant"]) for r in read_] == [
        (None, None, None), ("SCC", "other", True), (None, None, None)
    ]  # fmt: skip
    assert [len(r["cell_issues"]) for r in read_] == [0, 0, 1]


def test_isic_2020(shared: Path) -> None:
    folder = shared / "metadata"
    table = published(folder / "ISIC_2020_Training_GroundTruth.csv")
    read_ = read(isic_2020, isic_2020.SourceConfig(path=str(folder)))
    assert nothing_failed(read_) and len(read_) == len(table) and not any(row["cell_issues"] for row in read_)
    assert [row["malignant"] for row in read_] == [target == "1" for target in table.target]
    assert known(read_, "diagnosis") == (table.diagnosis != "unknown").sum()
    assert sum(row["entity"] == "nv" for row in read_) == (table.diagnosis == "nevus").sum()
    assert len({row["patient_id"] for row in read_}) == table.patient_id.nunique()
    assert known(read_, "site") == (table.anatom_site_general_challenge != "").sum()
    # known duplicates are kept together by their patients
    patient = {row["source_id"]: row["patient_id"] for row in read_}
    pairs = published(folder / "ISIC_2020_Training_Duplicates.csv")
    assert all(patient[a] == patient[b] for a, b in zip(pairs.image_name_1, pairs.image_name_2, strict=True))


def test_isic_2020_target_and_word_that_contradict_each_other(tmp_path: Path) -> None:
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
    (tmp_path / "t.csv").write_text(header + "a,p,male,45.0,torso,nevus,benign,1\n")
    row = read(isic_2020, isic_2020.SourceConfig(path=str(tmp_path), table="t.csv"))[0]
    assert row["malignant"] is None and "target: expected the same" in row["cell_issues"][0]


def test_fitzpatrick17k(shared: Path) -> None:
    table = published(shared / "metadata" / "fitzpatrick17k.csv")
    read_ = read(fitzpatrick17k, fitzpatrick17k.SourceConfig(path=str(shared / "metadata")))
    assert nothing_failed(read_) and len(read_) == len(table)
    assert Counter(row["fitzpatrick"] for row in read_) == Counter(
        None if f == "-1" else int(f) for f in table.fitzpatrick_scale
    )
    trusted = table[table.qc != "3 Wrongly labelled"]
    assert Counter(row["malignant"] for row in read_) == {
        True: (trusted.three_partition_label == "malignant").sum(),
        False: trusted.three_partition_label.isin(["benign", "non-neoplastic"]).sum(),
        None: (table.qc == "3 Wrongly labelled").sum(),
    }
    assert sum(row["entity"] == "mel" for row in read_) == (trusted.nine_partition_label == "malignant melanoma").sum()
    assert sum(row["entity"] == "bcc" for row in read_) == trusted.label.str.contains("basal cell").sum()
    assert known(read_, "entity") == len(trusted), "all of its 114 labels were looked at"
    assert read_[0]["uri"].endswith(f"/images/{table.md5hash[0]}.jpg")


def test_ddi_by_its_published_header(shared: Path, tmp_path: Path) -> None:
    header = (shared / "metadata" / "ddi_metadata.header_only.csv").read_text().strip()
    assert header == "DDI_ID,DDI_file,skin_tone,malignant,disease"
    lines = ["0,1,000001.png,56,True,melanoma-in-situ", "1,2,000002.png,12,True,mycosis-fungoides",
             "2,3,000003.png,34,False,basal-cell-carcinoma"]  # fmt: skip
    (tmp_path / "ddi_metadata.csv").write_text("\n".join([f",{header}", *lines]))
    read_ = read(ddi, ddi.SourceConfig(path=str(tmp_path)))
    assert [(r["skin_tone"], r["malignant"], r["entity"]) for r in read_] == [
        ("C", True, "mel"), ("A", True, "other"), ("B", None, "bcc")
    ]  # fmt: skip
    assert all(row["skin_tone_source"] == "metadata" and row["fitzpatrick"] is None for row in map(_full, read_))


def _full(row: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(IMAGES.names) | row


def test_isic_archive_reads_patients_lesions_and_sites(shared: Path, tmp_path: Path) -> None:
    read_ = read(isic_archive, isic_archive.SourceConfig(path=str(shared / "isic_uda1")))
    assert len(read_) == 457 and sum(row["malignant"] is True for row in read_) == 109
    assert known(read_, "diagnosis") == 455 and all(Path(row["uri"]).is_file() for row in read_)
    (tmp_path / "metadata.csv").write_text(
        "isic_id,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_3,image_type,lesion_id,patient_id,sex\n"
        "ISIC_1,CC-0,85+,Head/Neck,Malignant,Melanoma Invasive,clinical: close-up,IL_1,IP_1,female\n"
        "ISIC_2,CC-BY,,,Indeterminate,,TBP tile: close-up,,NA,\n"
    )
    one, two = read(isic_archive, isic_archive.SourceConfig(path=str(tmp_path)))
    expected = {"patient_id": "isic_archive/IP_1", "lesion_id": "isic_archive/IL_1", "site": "head/neck", "age": 85.0,
                "malignant": True, "entity": "mel", "modality": "clinical", "licence": "CC-0"}  # fmt: skip
    assert one.items() >= expected.items() and not one["cell_issues"]
    assert {two[n] for n in ("patient_id", "lesion_id", "site", "age", "malignant", "modality", "sex")} == {None}


def test_diagnoses_that_are_empty_or_in_another_case_are_no_benign_ones(tmp_path: Path) -> None:
    header = ",".join(name.split("|")[0] for name in pad_ufes_20.REQUIRED)
    lines = [f"{i}.png,P{i},{i},{word},0,40,,ARM" for i, word in enumerate(["mel", " Bcc ", "", "N/A", "XYZ", "nev"])]
    (tmp_path / "metadata.csv").write_text("\n".join([header, *lines]))
    read_ = read(pad_ufes_20, pad_ufes_20.SourceConfig(path=str(tmp_path)))
    assert [row["malignant"] for row in read_] == [True, True, None, None, None, False]
    assert [row["entity"] for row in read_] == ["mel", "bcc", None, None, None, "nv"]
    assert {row["fitzpatrick"] for row in read_} == {None} and not any(row["cell_issues"] for row in read_)
    assert [row.get("status") for row in read_] == [None, None, None, None, "rejected", None]
    assert read_[4]["reason"] == "label that the source's table of labels does not know @ metadata.csv line 6: 'XYZ'"


def test_pad_extension_finds_the_files(shared: Path) -> None:
    config = pad_ufes_20.SourceConfig(path=str(shared / "pad_ufes_20_subset"), extension=".jpg")
    assert all(Path(row["uri"]).is_file() for row in read(pad_ufes_20, config))


def test_a_table_like_ham10000s_with_bad_cells_and_rows(tmp_path: Path) -> None:
    lines = ["lesion_id,image_id,dx,age,sex,localization", "L1,a,NV,999,MALE,Back", "N/A,b,healthy,-1,,-", "L3,c,nv",
             "L4,,nv,40,male,back"]  # fmt: skip
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    a, b, c, d = read(ham10000, ham10000.SourceConfig(path=str(tmp_path)))
    assert (a["entity"], a["malignant"], a["age"], a["sex"], a["site"]) == ("nv", False, None, "male", "back")
    assert a["cell_issues"][0].endswith("@ metadata.csv line 2: '999'") and a.get("status") is None
    assert {b[name] for name in ("lesion_id", "entity", "malignant", "site")} == {None} and len(b["cell_issues"]) == 1
    assert b["status"] == "rejected" and b["reason"].endswith("does not know @ metadata.csv line 3: 'healthy'")
    assert c["status"] == "failed" and c["reason"].endswith("@ metadata.csv line 4") and c["source"] == "ham10000"
    assert d["status"] == "failed" and d["reason"] == "table row names no image @ metadata.csv line 5"
    strict = read(ham10000, ham10000.SourceConfig(path=str(tmp_path), bad_cells="reject"))
    assert [row.get("status") for row in strict] == ["rejected", "rejected", "failed", "failed"]
    assert strict[0]["reason"].startswith("bad cell: age: expected years") and "'999'" in strict[0]["reason"]


def test_where_images_may_lie() -> None:
    roots = image_roots(TableConfig(path="/d", images=["part_1", "part_2/"]))
    assert roots == ["/d/part_1", "/d/part_2"] and image_roots(TableConfig(path="/d", images=".")) == ["/d"]
    assert image_uris("ISIC_1", roots, "jpg") == ["/d/part_1/ISIC_1.jpg", "/d/part_2/ISIC_1.jpg"]
    assert image_uris("a.jpg", ["/d"], "") == image_uris("a.jpg", ["/d"], None) == ["/d/a.jpg"]
    assert image_uris("sub\\x.PNG", ["/d"], ".jpg") == ["/d/sub/x.jpg"]
    assert image_uris("./v1.2", ["s3://b/d"], ".jpg") == ["s3://b/d/v1.2.jpg"]
    assert image_uris("s3://other/x.jpg", ["/d"], None)[0] == "s3://other/x.jpg"
    assert image_uris("C:\\data\\nv\\x.jpg", ["/d"], None) == [
        "C:/data/nv/x.jpg", "/d/data/nv/x.jpg", "/d/nv/x.jpg", "/d/x.jpg"
    ]  # fmt: skip


def test_images_in_several_folders_and_paths_of_other_machines(tmp_path: Path) -> None:
    for name in ("part_1/a.jpg", "part_2/b.jpg", "part_1/both.jpg", "part_2/both.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = ["a", "b", "both", "gone", "D:\\study\\part_2\\b.jpg", f"{tmp_path}/part_1/a.jpg"]
    header = "image_id,lesion_id,dx,age,sex,localization\n"
    (tmp_path / "metadata.csv").write_text(header + "".join(f"{name},l{i},nv,,,\n" for i, name in enumerate(names)))
    config = ham10000.SourceConfig(path=str(tmp_path), images=["part_1", "part_2"])
    read_ = read(ham10000, config)
    where = [row["uri"].removeprefix(f"{tmp_path}/") if "uri" in row else row["reason"] for row in read_]
    assert where[:2] == ["part_1/a.jpg", "part_2/b.jpg"] and where[2].startswith("image lies in several folders @ ")
    assert where[3:] == ["part_1/gone.jpg", "part_2/b.jpg", "part_1/a.jpg"]


def test_unknown_sources_are_named() -> None:
    with pytest.raises(ValueError, match="source='isic2031': expected one of"):
        source("isic2031")


def test_every_source_of_public_tables_has_a_preset_that_its_config_accepts() -> None:
    for name in set(SOURCES) - {"folder"}:
        settings = load(IngestConfig, preset(f"ingest/{name}")).sources
        assert {s.pop("source") for s in settings} == {name}
        assert all(source(name).SourceConfig(**s) for s in settings)
