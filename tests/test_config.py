from pathlib import Path

import pytest
import yaml

from dermray.captioning.run import CaptionConfig
from dermray.cli import DESCRIPTIONS
from dermray.config import PRESETS, ConfigError, decisive, load, preset, validate
from dermray.pipeline import COMMANDS, PipelineConfig, command, stage_configs
from dermray.train_loop import LoopConfig


def test_every_command_is_a_stage() -> None:
    assert DESCRIPTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("path", sorted(PRESETS.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_preset_is_valid(path: Path) -> None:
    if path.parent.name == "pipeline":
        assert stage_configs(load(PipelineConfig, path))
    else:
        assert load(command(path.parent.name)[0], path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "stepz=3: unknown key; there are: steps"),
        ("steps=0", "steps=0: Input should be greater than or equal to 1"),
        ("steps=many", "steps='many': Input should be a valid integer"),
        ("steps='3'", "steps='3': Input should be a valid integer"),
        ("decay_from=1.5", "decay_from=1.5: Input should be less than or equal to 1"),
        ("betas=[0.9]", "betas.1: missing"),
        ("nonsense", "expected key=value"),
        ("steps.x=3", "steps is a value, not a section"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(LoopConfig, None, ["steps=10", override])
    assert message in str(error.value)


def test_unknown_nested_key_lists_its_own_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"output": "o", "rows": "r", "captioner": "c", "engine": {"replica": 2}}))
    with pytest.raises(ConfigError, match="engine.replica=2: unknown key; there are: replicas"):
        load(command("caption")[0], path)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\nseed: 1\n")
    assert load(LoopConfig, path, ["steps=7", "betas=[0.5, 0.6]"]).model_dump().items() >= {
        "steps": 7, "seed": 1, "betas": (0.5, 0.6)
    }.items()  # fmt: skip


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", ".1e-2", "+1.0e-3", "0.001"])
def test_numbers_are_written_as_people_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(f"steps: 5\nlearning_rate: {text}\n")
    assert load(LoopConfig, tmp_path / "c.yaml").learning_rate == 0.001
    assert load(LoopConfig, None, ["steps=5", f"learning_rate={text}"]).learning_rate == 0.001
    with pytest.raises(ConfigError, match="mlflow=0.001: Input should be a valid string"):
        load(LoopConfig, None, ["steps=5", f"mlflow={text}"])


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="YAML|key: value"):
        load(LoopConfig, path)


def test_missing_file_and_preset_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(LoopConfig, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="pipeline/quickstart"):
        preset("pipeline/fastest")


def test_a_pipeline_needs_one_captioner() -> None:
    both = load(PipelineConfig, preset("pipeline/quickstart"), ["caption.captioner=/somewhere"])
    with pytest.raises(ConfigError, match="not both or neither"):
        stage_configs(both)


def test_how_fast_work_is_done_does_not_decide_what_comes_out() -> None:
    slow = validate(CaptionConfig, {"output": "o", "rows": "r", "captioner": "c"})
    fast = {"engine": {"replicas": 8, "cpus": 4}, "rows_per_block": 16}
    assert decisive(slow) == decisive(validate(CaptionConfig, slow.model_dump(mode="json") | fast))
    other = validate(CaptionConfig, slow.model_dump(mode="json") | {"engine": {"dtype": "bfloat16"}})
    assert decisive(slow) != decisive(other) and decisive(other)["engine"]["dtype"] == "bfloat16"
