"""What is wrong with a config's adapters is told before Ray starts."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.generators.adapters import LORA_FILE
from dermray.serving.app import build
from dermray.serving.settings import ServedGenerator, ServiceConfig
from tests.serving.models import as_result


def built(loras: Path, **settings: Any) -> Any:
    model = {"task": "generation", "name": "flux", "model": str(loras / "base")} | settings
    return build(validate(ServiceConfig, {"models": [model]}))


def test_replicas_get_absolute_places(loras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(loras)
    application = built(loras, adapters={"red": "red"}, adapters_from=".")
    model: ServedGenerator = application._bound_deployment.init_args[1]["flux"]._bound_deployment.init_args[0]
    assert model.adapters["red"].place == str(loras / "red") and model.adapters_from == str(loras)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"adapters": {"x": "/nowhere"}}, FileNotFoundError, r"models\.flux\.adapters\.x: /nowhere: no such adapter"),
        ({"adapters_from": "/nowhere"}, FileNotFoundError, r"models\.flux\.adapters_from=/nowhere: no such directory"),
        ({"adapters": {"x": "sd"}}, ValueError, "adapters.x: made for another base: it expects nano of family stable_"),
        ({"adapters": {"x": "notes"}}, ValueError, rf"notes: no {LORA_FILE} there; give a train result"),
        ({"adapters": {"x": "cut.safetensors"}}, ValueError, "cut.safetensors: cut or damaged, 20 bytes"),
        ({"adapters": {"x": "drawn"}}, ValueError, "drawn: result of stage 'generate'; an adapter is one of train"),
        ({"adapters": {"x": {"place": "red", "gate": "none"}}}, FileNotFoundError, "none: does not exist; run the"),
        ({"adapters": {"a:b": "red"}}, ConfigError, r"adapters\.a:b"),
        ({"adapters": {"ä b": "red"}}, ConfigError, "should match pattern"),
        ({"adapters": {"x": "red"}, "compile": True}, ConfigError, "each change of adapter would compile anew"),
        ({"adapters": {"x": "red"}, "gate": "g"}, ConfigError, "this model has a gate, and x none; an adapter draws"),
        ({"adapters_from": "red", "gate": "g"}, ConfigError, "this model has a gate, and an adapter draws other"),
        ({"adapters": {"x": "red"}, "adapters_held": 0}, ConfigError, "adapters_held"),
    ],
)  # fmt: skip
def test_what_is_told(
    loras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], error: type, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("red", "sd"):
        (tmp_path / name).symlink_to(loras / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "cut.safetensors").write_bytes(b"\x10" + bytes(19))
    drawn = as_result(tmp_path / "drawn", loras / "red", "k", []) / "manifest.json"
    drawn.write_text(drawn.read_text().replace('"stage":"train"', '"stage":"generate"'))
    with pytest.raises(error, match=said):
        built(loras, **settings)


def test_adapters_of_a_family_without_them(served_models: Path, loras: Path) -> None:
    with pytest.raises(ValueError, match="adapters need a family with adapters"):
        built(loras, model=str(served_models / "generator"), adapters={"x": str(loras / "red")})
