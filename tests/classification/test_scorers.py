"""`predict` with a model that was not trained here."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dermray.classification import predict, zero_shot
from dermray.classification.batches import InMemory
from dermray.classification.predict import PredictConfig
from dermray.classification.training import probabilities
from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode, square
from tests.classification import tiny_clip
from tests.classification.made_rows import phantoms, result


def config(**changes: Any) -> PredictConfig:
    return validate(PredictConfig, {"output": "o", "rows": "r", "actors": 1} | changes)


@pytest.mark.slow
def test_a_zero_shot_model_scores_every_image(local_ray: None, tmp_path: Path) -> None:
    rows, model = phantoms(12), tiny_clip.write(tmp_path / "clip")
    result(f"{tmp_path}/rows", "ingest", rows)
    settings = config(
        output=f"{tmp_path}/scores", rows=f"{tmp_path}/rows", zero_shot={"name": "tiny", "model": str(model)}
    )
    made = predict.run(settings)
    table = pq.read_table(f"{made.data}/rows").to_pandas().set_index("sample_id")
    assert len(table) == 12 and set(table.status) == {"ok"}
    assert settings.zero_shot
    assert set(table.model) == {f"tiny@{zero_shot.revision(settings.zero_shot)}"}
    images = InMemory(np.stack([square(decode(row["image"]), tiny_clip.SIZE) for row in rows]))
    expected = probabilities(zero_shot.load(settings.zero_shot, settings.target), images, np.arange(12))
    found = table.loc[[row["sample_id"] for row in rows]]
    assert np.allclose(found.score_malignant, expected[:, 1], atol=1e-6)
    assert list(found.truth) == ["malignant" if row["malignant"] else "benign" for row in rows]
    assert predict.run(settings).manifest == made.manifest, "its manifest answers"


def test_one_classifier_is_asked_for() -> None:
    model = {"name": "tiny", "model": "m"}
    for given in ({}, {"classifier": "c", "zero_shot": model}):
        with pytest.raises(ConfigError, match="classifier: expected this or zero_shot, one of them"):
            config(**given)
    entities = config(column="entity", zero_shot=model | {"prompts": {"nv": ["nevus"], "mel": ["melanoma"]}})
    assert entities.target.classes == ("nv", "mel")
    with pytest.raises(ValueError, match="column=entity: expected at least two classes"):
        _ = config(column="entity", zero_shot=model).target
