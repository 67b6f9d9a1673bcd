import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dermray.config import ConfigError, load, validate
from dermray.datasets.ingest import IngestConfig
from dermray.skin_tone.filling import AS_TOLD
from dermray.skin_tone.settings import filling, judges_of
from tests.classification.made_rows import phantoms, result

SOURCES = [{"source": "phantom", "count": 8, "size": 32}]


def config(*overrides: str) -> IngestConfig:
    return load(IngestConfig, None, ["output=o", f"sources={SOURCES}".replace("'", '"'), *overrides])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("skin_tone=ITA", "skin_tone='ITA': expected metadata, ita, or {classifier: <result"),
        ("skin_tone=3", "skin_tone=3: expected metadata, ita, or"),
        ("skin_tone=null", "skin_tone=None: expected metadata, ita, or"),
        ("skin_tone={klassifier: x}", "skin_tone.klassifier='x': unknown key; there are: classifier"),
        ("skin_tone={classifier: 3}", "skin_tone.classifier=3"),
    ],
)
def test_a_wrong_way_is_told(given: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(given)
    assert told in str(error.value)


def test_metadata_alone_by_default() -> None:
    assert config().skin_tone == "metadata" and judges_of("metadata") == {} and filling("metadata", {}) is AS_TOLD


def test_the_angle_travels_to_workers() -> None:
    assert judges_of(config("skin_tone=ita").skin_tone) == {}
    sent = pickle.loads(pickle.dumps(filling("ita", {})))
    row: dict[str, Any] = {"source_id": "a"}
    assert sent(row, Image.new("RGB", (32, 32), (238, 203, 184)))["skin_tone"] == "A"


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    given = config(f"skin_tone.classifier={tmp_path}/none").skin_tone
    with pytest.raises(FileNotFoundError, match="does not exist"):
        judges_of(given)
    result(f"{tmp_path}/rows", "ingest", phantoms(4))
    with pytest.raises(ValueError, match=r"skin_tone.classifier=.*: result of stage 'ingest', expected one of"):
        judges_of(config(f"skin_tone.classifier={tmp_path}/rows").skin_tone)


def test_a_preset_with_another_way_can_be_overridden_as_a_whole() -> None:
    data = {"output": "o", "sources": SOURCES, "skin_tone": {"classifier": "runs/tone"}}
    assert validate(IngestConfig, data).model_dump()["skin_tone"] == {"classifier": "runs/tone"}
