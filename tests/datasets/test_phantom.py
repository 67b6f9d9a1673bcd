import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dermray.datasets.labels.words import MALIGNANT
from dermray.datasets.phantom import LESIONS_PER_PATIENT, SourceConfig, best_auc, encode_png, phantom_row
from dermray.records import ENTITIES, IMAGES, conform


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return [phantom_row(i, SourceConfig(count=1200, size=16, duplicates=0.02, broken=0.02)) for i in range(1200)]


def test_rows_fit_the_schema_and_are_the_same_again(rows: list[dict[str, object]]) -> None:
    assert conform([dict(r) for r in rows], IMAGES).num_rows == 1200
    assert phantom_row(17, SourceConfig(count=1200, size=16, duplicates=0.02, broken=0.02)) == rows[17]


def test_patients_have_several_lesions_of_one_skin_tone(rows: list[dict[str, object]]) -> None:
    tones: dict[object, set[object]] = {}
    for row in rows:
        tones.setdefault(row["patient_id"], set()).add(row["skin_tone"])
    assert len(tones) >= 1200 // LESIONS_PER_PATIENT
    assert all(len(found) == 1 for found in tones.values())


def test_some_files_repeat_and_some_are_broken(rows: list[dict[str, object]]) -> None:
    images = [row["image"] for row in rows]
    assert 5 < len(images) - len(set(images)) < 60
    broken = [data for data in images if not _opens(data)]  # type: ignore[arg-type]  # bytes
    assert 5 < len(broken) < 60


def _opens(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).load()
        return True
    except (OSError, SyntaxError):
        return False


def test_labels_are_noisy_on_purpose() -> None:
    assert 0.88 < best_auc() < 0.97


def test_no_single_attribute_gives_the_label_away(rows: list[dict[str, object]]) -> None:
    labels = [row["malignant"] for row in rows]
    for name in ("true_asymmetry", "true_border_irregular"):
        assert 0.5 < roc_auc_score(labels, [bool(row[name]) for row in rows]) < 0.8
    assert 0.35 < np.mean([bool(label) for label in labels]) < 0.6


def test_skin_tones_give_as_many_labels_away_as_asked_and_nothing_else_changes(rows: list[dict[str, object]]) -> None:
    config = SourceConfig(count=1200, size=16, duplicates=0.02, broken=0.02, confounded=0.9)
    given_away = [phantom_row(i, config) for i in range(300)]
    telling = [row["skin_tone"] == ("C" if row["malignant"] else "A") for row in given_away]
    assert 0.9 < np.mean(telling) < 0.98, "a third of the others by chance"
    for row, plain in zip(given_away, rows, strict=False):
        assert {name for name in row if row[name] != plain[name]} <= {"image", "skin_tone"}


def test_entities_agree_with_labels_and_none_is_rare() -> None:
    config = SourceConfig(count=1200, size=16, duplicates=0, broken=0, entities=True, modality="clinical")
    rows = [phantom_row(i, config) for i in range(1200)]
    counts = Counter(row["entity"] for row in rows)
    assert set(counts) == set(ENTITIES) and min(counts.values()) >= 0.06 * len(rows)
    for row in rows:
        assert MALIGNANT[row["entity"]] in (None, row["malignant"])
    assert {row["modality"] for row in rows} == {"clinical"}
    plain = phantom_row(17, SourceConfig(count=1200, size=16, duplicates=0, broken=0))
    assert plain["entity"] == "other" and plain["image"] == rows[17]["image"], "the pictures are the same"


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)
