"""The stage through the command line: by the renderer, and by a trained generator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from dermray import manifest
from dermray.backbones.networks import Backbone, build
from dermray.classification.audit import run as stage
from dermray.classification.audit.run import AuditClassifierConfig
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.config import PRESETS, ConfigError, load, validate
from dermray.manifest import Result
from tests.classification import made_rows
from tests.conftest import call_cli


def untrained(target: Target) -> Saved:
    torch.manual_seed(0)
    backbone = Backbone(name="test_resnet", learning_rate=1e-3)
    return Saved(build(backbone, target.outputs).eval(), backbone, target, 32)


def config(**given: Any) -> AuditClassifierConfig:
    return validate(AuditClassifierConfig, {"output": "o", "classifier": "c", "generator": "renderer"} | given)


@pytest.mark.slow
def test_a_confounded_classifier_is_caught_through_the_command_line(
    confounded: Saved,
    result_of: Callable[[Saved], Result],
    tmp_path: Path,
    local_ray: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    classifier, output = result_of(confounded).uri, str(tmp_path / "audit")
    base = ["audit-classifier", "--config", "audit-classifier/renderer", f"classifier={classifier}"]
    code, out, _ = call_cli(capsys, *base, f"output={output}", "lesions=30", "shown=5", "actors=1", "batch_size=8")
    assert code == 0 and "skin tone: depends on it: the same lesion scores" in out and "page: " in out
    result = manifest.read(output)
    rows = pq.read_table(f"{result.data}/rows").to_pylist()
    assert len({row["lesion"] for row in rows}) == len(rows) == 30 == result.manifest.rows.ok
    assert sorted(path.name for path in Path(result.data).iterdir()) == ["page.html", "plan", "rows"]
    page = Path(result.data, "page.html").read_text()
    assert page.count('class="lesion"') == 5 and page.count("data:image/png;base64,") == 5 * 4
    assert result.manifest.metrics["attributes"]["skin_tone"]["pairs"][1]["mean"] > 0.4


@pytest.mark.slow
def test_a_trained_generator_draws_the_same_words_from_the_same_noise(
    result_of: Callable[[Saved], Result], small_run: Path, tmp_path: Path
) -> None:
    classifier = result_of(untrained(Target.of("malignant"))).uri
    given = {
        "output": f"{tmp_path}/audit", "classifier": classifier, "generator": f"{small_run}/train",
        "rows": f"{small_run}/caption", "lesions": 6, "sampling_steps": 1, "actors": 1, "batch_size": 4,
    }  # fmt: skip
    result = stage.run(config(**given))
    rows = pq.read_table(f"{result.data}/rows").to_pylist()
    assert len(rows) == 6 == result.manifest.rows.ok
    for row in rows:
        assert row["version_prompt"][:2] == [row["prompt"]] * 2 and len(set(row["version_prompt"])) == 3
        assert row["images"][0] != row["images"][1], "another seed, another picture"
        assert row["change"][0] == 0 < row["change"][1]
    assert result.manifest.metrics["floor"]["change"] > 1
    other = made_rows.result(f"{tmp_path}/other", "caption", made_rows.phantoms(20))
    with pytest.raises(ValueError, match=r"trained on other rows .* give its own"):
        stage.run(config(**given | {"rows": other.uri, "output": f"{tmp_path}/b"}))
    with pytest.raises(ValueError, match="attributes.sex: female: .* does not know female, so it would draw the same"):
        stage.run(config(**given | {"attributes": {"sex": ["female", "male"]}, "output": f"{tmp_path}/c"}))
    with pytest.raises(ValueError, match=r"lesions=99: only \d\d captions can be prompts"):
        stage.run(config(**given | {"lesions": 99, "output": f"{tmp_path}/d"}))


@pytest.mark.parametrize("preset", ["default", "renderer"])
def test_presets_are_configs(preset: str) -> None:
    settings = load(AuditClassifierConfig, PRESETS / "audit-classifier" / f"{preset}.yaml")
    assert [attribute.name for attribute in settings.changes()] == ["skin_tone"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attributes": {"age": ["old", "young"]}}, "attributes.age: expected one of skin_tone, sex, site"),
        ({"attributes": {"sex": ["female", "male"]}}, "attributes.sex: the renderer changes skin_tone alone"),
        ({"rows": "runs/caption"}, "rows=runs/caption: the renderer reads no captions"),
        ({"generator": "runs/train"}, "rows: missing; give the captions that generator=runs/train was trained on"),
    ],
)
def test_configs_that_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**given)


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        (Target("entity", ("mel", "nv")), {}, r"of_class=malignant: .* tells entity apart \(mel, nv\); give one"),
        (Target("skin_tone", ("A", "B")), {}, r"attributes.skin_tone: the classifier tells skin_tone apart"),
    ],
)
def test_a_classifier_of_another_target_is_refused(
    target: Target, given: dict[str, Any], message: str, result_of: Callable[[Saved], Result], tmp_path: Path
) -> None:
    classifier = result_of(untrained(target)).uri
    with pytest.raises(ValueError, match=message):
        stage.run(config(classifier=classifier, output=f"{tmp_path}/o", **given))
    assert not (tmp_path / "o").exists()


def test_a_class_of_several_may_be_the_score(result_of: Callable[[Saved], Result]) -> None:
    classifier = result_of(untrained(Target("entity", ("bcc", "mel", "nv"))))
    assert stage.class_number(classifier, config(of_class="mel")) == 1
