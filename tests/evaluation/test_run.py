"""The stage on a small run: two sources in two extractors' features, killed, and what it refuses."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
from safetensors.torch import save_file

from dermray.config import validate
from dermray.evaluation import run as evaluation
from dermray.evaluation.settings import EvaluationConfig
from dermray.failures import plain_cause
from dermray.manifest import Result
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig

pytestmark = pytest.mark.slow
SMALL = {"judge_phantoms": 100, "judge_steps": 10, "pairs": 10, "min_images": 10}


@pytest.fixture(scope="module")
def drawn(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two generate results."""
    place = tmp_path_factory.mktemp("drawn")
    config = {"generator": f"{small_run}/train", "rows": f"{small_run}/caption", "count": 30, "sampling_steps": 1,
              "actors": 1, "gate": {"false_rate": 0, "training_steps": 10, "planted": 2}}  # fmt: skip
    for seed in (0, 1):
        synthesis.run(validate(SynthesisConfig, config | {"output": f"{place}/{seed}", "seed": seed}))
    return {"one": f"{place}/0", "another": f"{place}/1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=4).state_dict(), file)
    return str(file)


@pytest.fixture(scope="module")
def settings(small_run: Path, drawn: dict[str, str], weights: str) -> dict[str, Any]:
    network = {"kind": "timm", "name": "test_resnet", "weights": weights}
    return SMALL | {"rows": f"{small_run}/caption", "synthetic": drawn, "extractors": [{"kind": "judge"}, network]}


@pytest.fixture(scope="module")
def result(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Result:
    output = str(tmp_path_factory.mktemp("evaluate") / "out")
    return evaluation.run(validate(EvaluationConfig, settings | {"output": output}))


def test_every_source_in_every_extractors_features(result: Result) -> None:
    found = result.manifest.metrics
    assert [network["name"] for network in found["extractors"]] == ["judge", "timm test_resnet"]
    assert len({network["hash"] for network in found["extractors"]}) == 2
    assert list(found["sources"]) == ["one", "another"]
    for source in found["sources"].values():
        assert source["images"] == 30 and set(source["pairs"]) == {"prompt", "nearest", "random"}
        for features in source["features"]:
            whole = features["distances"][0]
            assert whole["group"] is None and whole["synthetic"] == 30 and whole["images"] >= 10
            assert whole["frechet_distance"] > 0 and not whole["full_rank"]
            assert {row["group"] for row in features["distances"] if row["attribute"] == "label"} == {
                "benign",
                "malignant",
            }
    rows = result.manifest.rows
    assert rows.rows_in == rows.ok == found["images"]["real"] + 60


def test_a_group_without_enough_images_says_so(result: Result) -> None:
    rows = result.manifest.metrics["sources"]["one"]["features"][0]["distances"]
    tones = [row for row in rows if row["attribute"] == "skin_tone"]
    assert tones and all("expected at least 10 in each (min_images)" in row["not_computed"] for row in tones)


def test_what_lies_beside_the_manifest(result: Result) -> None:
    data = Path(result.data)
    assert (data / "evaluation.json").read_text() == json.dumps(result.manifest.metrics, indent=1)
    lines = list(csv.DictReader((data / "table.csv").open()))
    assert {line["source"] for line in lines} == {"one", "another"}
    values = {(line["source"], line["extractor"], line["metric"]) for line in lines if not line["group"]}
    assert ("another", "timm test_resnet", "frechet_all") in values and ("one", "", "ssim") in values
    page = (data / "evaluation.html").read_text()
    assert "another by group, in features of judge" in page and "None" not in page
    for name in result.manifest.metrics["pictures"]:
        assert (data / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    assert not (data / "features").exists()


def test_one_that_was_ended_leaves_no_result_and_goes_on_with_its_features(
    settings: dict[str, Any], drawn: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: too few images of all are said, and the result stands."""
    changes = {"output": f"{tmp_path}/out", "synthetic": drawn["one"], "extractors": [{"kind": "judge"}],
               "min_images": 1000, "pairing": ["random"], "groups": []}  # fmt: skip
    config, measured, seen = validate(EvaluationConfig, settings | changes), evaluation._all, []

    def ended(*arguments: Any) -> Any:
        files = [*tmp_path.rglob("features/*/rows/*.parquet"), *tmp_path.rglob("judge.pt")]
        seen.append({file: file.read_bytes() for file in files})
        if len(seen) == 1:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(evaluation, "_all", ended)
    with pytest.raises(KeyboardInterrupt):
        evaluation.run(config)
    assert not list(tmp_path.rglob("manifest.json")) and not list(tmp_path.rglob("*.html"))
    result = evaluation.run(config)
    assert len(seen[0]) >= 3 and seen[1] == seen[0], "nothing was computed again"
    [whole] = result.manifest.metrics["sources"]["synthetic"]["features"][0]["distances"]
    assert "30 synthetic ones: expected at least 1000 in each (min_images)" in whole["not_computed"]
    assert "not computed: " in (Path(result.data) / "evaluation.html").read_text()
    assert re.search(r',"not computed: \d+ real images', (Path(result.data) / "table.csv").read_text())
    assert evaluation.run(config).manifest.key == result.manifest.key and len(seen) == 2


def test_synthetic_images_of_other_rows_are_refused(settings: dict[str, Any], small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run / "caption", tmp_path / "caption")
    for file in (tmp_path / "caption").rglob("rows/**/*.parquet"):
        table = pq.read_table(file)
        names = pa.array([name[::-1] for name in table["sample_id"].to_pylist()], pa.string())
        pq.write_table(table.set_column(table.schema.get_field_index("sample_id"), "sample_id", names), file)
    changes = {"output": f"{tmp_path}/out", "rows": f"{tmp_path}/caption"}
    with pytest.raises(Exception, match="they were made from other rows") as refused:
        evaluation.run(validate(EvaluationConfig, settings | changes))
    assert f"is a row of {tmp_path}/caption" in str(plain_cause(refused.value))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("extractor", "error", "match"),
    [
        ({"kind": "timm", "name": "test_vit"}, ValueError, "test_resnet.safetensors"),
        ({"kind": "inception"}, ValueError, "weights"),
        ({"kind": "dinov2", "weights": "/nowhere/dinov2"}, FileNotFoundError, "/nowhere/dinov2"),
    ],
)
def test_wrong_networks_are_refused_before_anything_is_written(
    extractor: dict[str, str],
    error: type[Exception],
    match: str,
    settings: dict[str, Any],
    weights: str,
    tmp_path: Path,
) -> None:
    changes = {"output": f"{tmp_path}/out", "extractors": [{"weights": weights} | extractor]}
    with pytest.raises(error, match=match):
        evaluation.run(validate(EvaluationConfig, settings | changes))
    assert not (tmp_path / "out").exists()
