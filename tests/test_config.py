from pathlib import Path
from typing import Any

import pytest
import yaml

from dermray import pipeline
from dermray.captioning.audit.run import AuditConfig
from dermray.captioning.run import CaptionConfig
from dermray.captioning.settings import RemoteConfig
from dermray.cli import DESCRIPTIONS
from dermray.config import PRESETS, ConfigError, decisive, load, preset, validate
from dermray.datasets.ingest import IngestConfig
from dermray.pipeline import COMMANDS, PipelineConfig, command
from dermray.serving.keys import Key
from dermray.serving.settings import ServiceConfig
from dermray.train_loop import LoopConfig
from dermray.training.run import TrainConfig
from dermray.vlm.run import CaptionerConfig


def test_every_command_is_a_stage() -> None:
    assert DESCRIPTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("path", sorted(PRESETS.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_preset_is_valid(path: Path) -> None:
    if path.parent.name == "pipeline":
        assert pipeline.load(load(PipelineConfig, path))
    elif path.parent.name == "papers":
        scales = load(PipelineConfig, path).scales
        assert {"paper", "nano", "smoke"} <= scales.keys()
        for scale in scales:
            assert pipeline.load(load(PipelineConfig, path, [f"scale={scale}"]))
    else:
        stage = path.parent.name
        if stage == "reader-study":  # a folder of both its steps
            stage += " analyse" if path.stem == "analyse" else " build"
        assert load(command(stage)[0], path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "stepz=3: unknown key; there are: steps"),
        ("steps=0", "steps=0: expected at least 1, or epochs in its place"),
        ("steps=many", "steps='many': Input should be a valid integer"),
        ("steps='3'", "steps='3': Input should be a valid integer"),
        ("decay_from=1.5", "decay_from=1.5: Input should be less than or equal to 1"),
        ("betas=[0.9]", "betas.1: missing"),
        ("nonsense", "expected key=value"),
        ("steps=", "no value; write null for none"),
        ("steps=10 #1", "steps='10 #1': Input should be a valid integer"),
        ("steps=1_000", "steps='1_000': Input should be a valid integer"),
        ("keep_best=yes", "keep_best='yes': Input should be a valid boolean; write true or false"),
        (
            "mlflow=2024",
            "mlflow=2024: Input should be a valid string; a text that looks like another value",
        ),
        ("mlflow=''", "mlflow='': String should have at least 1 character"),
        ("learning_rate=.inf", "learning_rate=inf: Input should be a finite number"),
        ("weight_decay=.nan", "weight_decay=nan: Input should be a finite number"),
        ("betas=[0.9, 1.5]", "betas.1=1.5: Input should be less than 1"),
        ("betas.0=0.5", "give the whole list"),
        ("steps.x=3", "x stands below 10, which is a value, not a section"),
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


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            {"task": "classification", "model": "m", "nam": "a"},
            ["models.0.name: missing", "models.0.nam='a': unknown key; there are: replicas, "],
        ),
        ({"task": "generate"}, ["models.0.task: 'generate'; expected one of captioning, classification, generation"]),
        ({"name": "a"}, ["models.0.task: missing; expected one of captioning, classification, generation"]),
        ({"replicas": 0}, ["models.0.replicas=0: Input should be greater than or equal to 1"]),
        (
            {"replicas": {"max_replica": 3}},
            ["models.0.replicas.max_replicas: miss", "models.0.replicas.max_replica=3: unknown key; there are: min_"],
        ),
        ({"replicas": "x"}, ["models.0.replicas='x': Input should be a valid int", "models.0.replicas='x': Input"]),
        ({"resources": {"a": "b"}}, ["models.0.resources.a='b': Input should be a valid number"]),
    ],
)  # fmt: skip
def test_branches_of_unions_have_paths_as_files_have_them(model: dict[str, object], expected: list[str]) -> None:
    valid = {"task": "classification", "model": "m", "name": "a"}
    given = valid | model if "replicas" in model or "resources" in model else model
    with pytest.raises(ConfigError) as error:
        validate(ServiceConfig, {"models": [given]})
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"  {start}")


def test_a_list_of_wrong_items_is_not_called_empty() -> None:
    with pytest.raises(ConfigError) as error:
        validate(Key, {"name": "a", "hash": f"sha256:{'0' * 64}", "scopes": ["classfy"]})
    assert len(str(error.value).splitlines()) == 2 and "scopes.0='classfy'" in str(error.value)
    with pytest.raises(ConfigError, match="scopes=.*: Tuple should have at least 1 item"):
        validate(Key, {"name": "a", "hash": f"sha256:{'0' * 64}", "scopes": []})


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


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "", "? [a]\n: 1\n"])
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


def test_how_fast_work_is_done_does_not_decide_what_comes_out() -> None:
    slow = validate(CaptionConfig, {"output": "o", "rows": "r", "captioner": "c"})
    fast = {"engine": {"replicas": 8, "cpus": 4}, "rows_per_block": 16}
    assert decisive(slow) == decisive(validate(CaptionConfig, slow.model_dump(mode="json") | fast))
    other = validate(CaptionConfig, slow.model_dump(mode="json") | {"engine": {"dtype": "bfloat16"}})
    assert decisive(slow) != decisive(other) and decisive(other)["engine"]["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    "text",
    ["runs/clinic #1", "a: b", "s3://bucket/a b#c", "it's", "- x", "&a b", "*a", "[INST] <image>", "12:30",
     "2024-01-01", "yes", "no",
     "1_000", "x:", "a\nb", "# all", "{a", "| x", "!x y", "a  b", "@home", "%x", "--- x", '"a" b'],
)  # fmt: skip
def test_an_overrides_text_is_taken_as_it_stands(text: str) -> None:
    assert load(LoopConfig, None, ["steps=1", f"mlflow={text}"]).mlflow == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("010", 10), ("-1", -1), ("0x10", 16), ("1.5", 1.5), ("1e3", 1000.0), ("true", True), ("null", None),
     ("~", None), ("'10'", "10"), ('"a #b"', "a #b"), ("'it''s'", "it's"), ("[1, a b]", [1, "a b"]),
     ("{a: 1}", {"a": 1}), ("[]", []), (" 10 ", 10)],
)  # fmt: skip
def test_an_overrides_value_is_yaml_where_it_looks_like_it(text: str, value: object) -> None:
    sweep = load(PipelineConfig, None, ["output=o", f"stages.sweep.x={text}"]).sections["sweep"]
    assert sweep == {"x": value} and type(sweep["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 5\nseed: 1\nsteps: 7\n", "line 3: 'steps' stands in line 1 already"),
        ("steps: 5\nbetas: {a: 1, a: 2}\n", "line 2: 'a' stands in line 2 already"),
        ('steps: 5\n"steps": 7\n', "line 2: 'steps' stands in line 1 already"),
    ],
)
def test_a_key_stands_once(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(LoopConfig, tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="override 'mlflow={a: 1, a: 2}': line 1: 'a' stands in line 1 already"):
        load(LoopConfig, None, ["steps=1", "mlflow={a: 1, a: 2}"])


def test_merged_keys_are_no_repetition(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("output: o\nstages:\n  ingest: &x {a: 1}\n  train: {<<: *x, a: 2}\n")
    assert load(PipelineConfig, tmp_path / "c.yaml").stages["train"] == {"a": 2}


def test_a_file_in_latin_1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("steps: 5  # für\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="expected UTF-8, got 0xfc"):
        load(LoopConfig, tmp_path / "c.yaml")


def test_items_of_lists_and_keys_below_nothing_are_overridden(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(
        {"output": "o", "stages": {"ingest": {"sources": [{"source": "phantom"}, {"source": "phantom", "seed": 1}]},
                                   "captioner": None}}))  # fmt: skip
    overrides = ["ingest.sources.1.seed=5", "ingest.sources[0].count=9", "captioner.loop.steps=3"]
    given = load(PipelineConfig, tmp_path / "c.yaml", [f"stages.{override}" for override in overrides]).sections
    assert given["ingest"]["sources"] == [{"source": "phantom", "count": 9}, {"source": "phantom", "seed": 5}]
    assert given["captioner"] == {"loop": {"steps": 3}}
    for wrong in ("2", "-1", "x"):
        with pytest.raises(ConfigError, match=f"{wrong} is no item of a list of 2; expected a number from 0 to 1"):
            load(PipelineConfig, tmp_path / "c.yaml", [f"stages.ingest.sources.{wrong}.seed=5"])


def test_an_override_changes_one_of_two_sections_that_an_alias_shares(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "output: o\nstages:\n  first: {loop: &loop {steps: 1, betas: [0.5, 0.6]}}\n  second: {loop: *loop}\n"
    )
    overrides = ["stages.second.loop.steps=2", "stages.second.loop.betas.0=0.4"]
    given = load(PipelineConfig, tmp_path / "c.yaml", overrides).sections
    assert given["first"]["loop"] == {"steps": 1, "betas": [0.5, 0.6]}
    assert given["second"]["loop"] == {"steps": 2, "betas": [0.4, 0.6]}


INGEST = {"output": "o", "sources": [{"source": "phantom"}]}
CAPTION = {"output": "o", "rows": "r", "captioner": "c"}
TRAIN = {"output": "o", "rows": "r", "loop": {"steps": 1}}


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (IngestConfig, INGEST | {"output": ""}, "output='': String should have at least 1 character"),
        (IngestConfig, INGEST | {"fractions": {"train": 1.2, "val": 0, "test": -0.2}},
         "fractions.train=1.2: Input should be less than or equal to 1"),
        (IngestConfig, INGEST | {"fractions": {"train": 1.2, "val": 0, "test": -0.2}},
         "fractions.test=-0.2: Input should be greater than or equal to 0"),
        (IngestConfig, INGEST | {"fractions": {"train": 0.5}},
         "fractions.train + val + test=0.8: expected shares that add up to 1"),
        (IngestConfig, INGEST | {"fractions": {"train": 0.79, "val": 0.01}}, "fractions.val=0.01: expected 0, or"),
        (IngestConfig, INGEST | {"sources": [{"source": "phantom"}, {"source": "phantom", "count": 0}]},
         "sources.1.count=0: Input should be greater than or equal to 1"),
        (IngestConfig, INGEST | {"sources": [{"source": "isic"}]}, "source='isic': expected one of"),
        (IngestConfig, INGEST | {"sources": [{"source": "phantom"}] * 2}, "source 1 is given twice"),
        (IngestConfig, INGEST | {"sources": [{"source": "folder", "path": "p", "columns": {"patient": "x"}}]},
         "sources.0.columns={'patient': 'x'}: ['patient'] are no columns of ours; expected keys out of ['source_id'"),
        (CaptionConfig, CAPTION | {"prompt_set": "abcd"}, "prompt_set='abcd': expected one of"),
        (CaptionConfig, CAPTION | {"metadata": ["tone"]}, "metadata=['tone']: expected names out of"),
        (CaptionConfig, CAPTION | {"sampling": {"max_tokens": 512}}, "sampling.max_tokens=512: expected less than"),
        (CaptionConfig, CAPTION | {"engine": {"replicas": 0}}, "engine.replicas=0: expected at least 1, and"),
        (CaptionConfig, CAPTION | {"remote": {"base_url": "http://h", "model": "m"}}, "give either captioner"),
        (TrainConfig, TRAIN | {"family": "gan"}, "family='gan': expected one of"),
        (TrainConfig, TRAIN | {"model": {"image_size": 33, "width": 0}}, "model.image_size=33: Input should be a"),
        (TrainConfig, TRAIN | {"model": {"image_size": 33, "width": 0}}, "model.width=0: Input should be greater than"),
        (TrainConfig, TRAIN | {"family": "dermdit", "model": {"heads": 3}}, "model.width=64: expected a multiple of"),
        (TrainConfig, TRAIN | {"family": "glide", "model": {"image_size": 256, "base_size": 96}},
         "model.base_size=96: image_size=256 is no multiple of it"),
        (TrainConfig, TRAIN | {"family": "glide", "model": {"upsampler_steps": [10, 1]}},
         "model.upsampler_steps=[10, 1]: expected 2 to 500 in each section, got 1"),
        (TrainConfig, TRAIN | {"family": "latent_diffusion", "model": {"unet": {"layers": 2}}},
         "model.unet={'layers': 2}: ['layers'] are no arguments of UNet2DConditionModel"),
        (TrainConfig, TRAIN | {"loop": {"steps": 1, "workers": 33}},
         "loop.batch_size=32: expected at least one image for each of 33 workers"),
        (CaptionerConfig, {"output": "o", "loop": {"steps": 1, "keep_best": True}}, "no validation loss to choose by"),
        (CaptionerConfig, {"output": "o", "loop": {"steps": 1}, "model": {"image_size": 60}},
         "model.image_size=60: expected a multiple of patch_size=8"),
        (AuditConfig, {"output": "o", "captions": ["a", "a"]}, "captions=['a', 'a']: expected each result once"),
    ],
)  # fmt: skip
def test_what_a_config_alone_can_tell_is_told_first(cls: type[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate(cls, settings)
    assert message in str(error.value)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("cls", "settings", "field"),
    [
        (RemoteConfig, {"base_url": f"https://ann:{SECRET}@h/v1", "model": "m"}, "base_url: "),
        (TrainConfig, TRAIN | {"loop": {"steps": 1, "mlflow": f"http://{SECRET}@mlflow:5000"}}, "loop.mlflow: "),
        (TrainConfig, TRAIN | {"loop": {"steps": 1, "mlflow": f"mysql+pymysql://u:{SECRET}@h/db"}}, "loop.mlflow: "),
        (IngestConfig, INGEST | {"sources": [{"source": "folder", "path": f"https://u:{SECRET}@h"}]}, "0.path: "),
        (AuditConfig, {"output": "o", "captions": ["a", f"https://u:{SECRET}@h/x"]}, "captions.1: "),
    ],
)  # fmt: skip
def test_no_url_with_a_password_enters_a_config(cls: type[Any], settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match="URL holds a user or password before its host") as error:
        validate(cls, settings)
    assert field in str(error.value) and SECRET not in str(error.value), "nor a log"


def test_an_at_sign_elsewhere_is_no_secret() -> None:
    remote = {"base_url": "https://h:8000/v1/@me?mail=a@b", "model": "org/model@v1"}
    validate(CaptionConfig, CAPTION | {"captioner": None, "remote": remote, "output": "s3://bucket/a@b"})


def test_foreign_code_runs_only_at_a_pinned_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = CAPTION | {"captioner": "some/model"}
    for revision in ({}, {"revision": "main"}, {"revision": "abc1234"}):
        with pytest.raises(ConfigError, match="expected engine.revision to be a commit, 40 hex digits, got"):
            validate(CaptionConfig, trusting | {"engine": {"trust_remote_code": True, **revision}})
    validate(CaptionConfig, trusting | {"engine": {"trust_remote_code": True, "revision": "a" * 40}})
    validate(CaptionConfig, trusting | {"captioner": "s3://b/model", "engine": {"trust_remote_code": True}})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    validate(CaptionConfig, trusting | {"engine": {"trust_remote_code": True}})
