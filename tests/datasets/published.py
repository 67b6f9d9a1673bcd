"""Small tables in the layouts in which data sets are published, and a source's rows of them without Ray.

Who publishes what, and where the layouts are documented: challenge.isic-archive.com/data (ImageMarkup/stade,
stade/core/templates/data/*.html: files, counts, licences), isic-cli (image.py, utils.py), the papers in each source.
"""

from pathlib import Path
from typing import Any

from dermray.config import load, preset
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.sources import TableConfig, rows, source
from dermray.records import IMAGES, conform

ISIC_2024 = "isic_id,target,patient_id,age_approx,sex,anatom_site_general,clin_size_long_diam_mm,image_type,tbp_lv_A,"
ISIC_2024 += "attribution,copyright_license,lesion_id,iddx_full,iddx_1,iddx_2,iddx_3,iddx_4,iddx_5,mel_thick_mm\n"
BCN = "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split\n"
DERM = "image_id\tpatient_id\tlabel\tsuper_class\tmalignancy\tmain_class_1\tmain_class_2\tsub_class\n"
MILK = "lesion_id,image_type,isic_id,attribution,copyright_license,image_manipulation,age_approx,sex,"
MILK += "skin_tone_class,site\n"
ARCHIVE = "isic_id,attribution,copyright_license,age_approx,anatom_site_1,diagnosis_1,diagnosis_2,diagnosis_3,"
ARCHIVE += "fitzpatrick_skin_type,image_manipulation,image_type,lesion_id,patient_id,sex\n"


def rows_of(name: str, folder: Path | str, **settings: Any) -> list[dict[str, Any]]:
    """All rows of a source's table, which conform to our columns."""
    module = source(name)
    return rows_of_config(module, module.SourceConfig(path=str(folder), **settings))


def rows_of_config(module: Any, config: TableConfig) -> list[dict[str, Any]]:
    """As `rows_of`, of a config."""
    found, to_row, _ = module.opened(config)
    read = [
        row
        for chunk in found.chunks
        for row in rows(found.table, chunk, lambda cells: to_row(cells, config=config), config)
    ]
    conform([{k: v for k, v in row.items() if k != "uri"} for row in read], IMAGES)
    assert found.rows == len(read)
    return read


def preset_sources(name: str, folder: Path | str) -> list[dict[str, Any]]:
    """The sources of a preset, as a user has them whose data lie in `folder`."""
    return [given | {"path": str(folder)} for given in load(IngestConfig, preset(f"ingest/{name}")).sources]


def by_id(read: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by the names that their publisher gave them."""
    assert len({row["source_id"] for row in read}) == len(read)
    return {row["source_id"]: row for row in read}


def write(folder: Path, **tables: str) -> Path:
    """Tables below a folder, by their paths or by their keys in PATHS."""
    for name, text in tables.items():
        path = folder / PATHS.get(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


PATHS = {
    "isic_2016_train": "ISBI2016_ISIC_Part3_Training_GroundTruth.csv",
    "isic_2016_test": "ISBI2016_ISIC_Part3_Test_GroundTruth.csv",
    "isic_2017_train": "ISIC-2017_Training_Part3_GroundTruth.csv",
    "isic_2017_people": "ISIC-2017_Training_Data/ISIC-2017_Training_Data_metadata.csv",
    "isic_2017_val": "ISIC-2017_Validation_Part3_GroundTruth.csv",
    "isic_2017_val_people": "ISIC-2017_Validation_Data/ISIC-2017_Validation_Data_metadata.csv",
    "isic_2017_test": "ISIC-2017_Test_v2_Part3_GroundTruth.csv",
    "isic_2017_test_people": "ISIC-2017_Test_v2_Data/ISIC-2017_Test_v2_Data_metadata.csv",
    "isic_2018_train": "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
    "isic_2018_val": "ISIC2018_Task3_Validation_GroundTruth/ISIC2018_Task3_Validation_GroundTruth.csv",
    "isic_2018_test": "ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv",
    "isic_2018_lesions": "ISIC2018_Task3_Training_LesionGroupings.csv",
    "isic_2019_train": "ISIC_2019_Training_GroundTruth.csv",
    "isic_2019_people": "ISIC_2019_Training_Metadata.csv",
    "isic_2019_test": "ISIC_2019_Test_GroundTruth.csv",
    "isic_2019_test_people": "ISIC_2019_Test_Metadata.csv",
    "isic_2020_test": "ISIC_2020_Test_Metadata.csv",
    "isic_2024": "train-metadata.csv",
    "isic_2024_test": "test-metadata.csv",
    "archive": "metadata.csv",
    "bcn20000": "bcn_20k_train.csv",
    "bcn20000_test": "bcn_20k_test.csv",
    "derm12345": "derm12345_metadata_train.csv",
    "derm12345_test": "derm12345_metadata_test.csv",
    "milk10k": "MILK10k_Training_Metadata.csv",
    "milk10k_truth": "MILK10k_Training_GroundTruth.csv",
    "milk10k_words": "MILK10k_Training_Supplement.csv",
    "milk10k_test": "MILK10k_Test_Metadata.csv",
}
