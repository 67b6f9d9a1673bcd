"""Which adapters there are: those of the config, those that lie in a directory, now; and why others are none."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from dermray import storage
from dermray.config import validate
from dermray.generators.adapters import LORA_FILE
from dermray.generators.base import family
from dermray.serving.adapters import catalogue as catalogues
from dermray.serving.adapters.base import Base, base_of
from dermray.serving.adapters.catalogue import Catalogue
from dermray.serving.adapters.place import AdapterPlace, place_of_adapter
from dermray.serving.errors import ApiError
from dermray.serving.opening import place_of
from dermray.serving.settings import ServedAdapter, ServedGenerator
from tests.serving.models import as_result


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogues, "FRESH", -1.0)


def served(loras: Path, **settings: Any) -> ServedGenerator:
    model = {"task": "generation", "name": "flux", "model": str(loras / "base")}
    return validate(ServedGenerator, model | settings)


def catalogue(loras: Path, **settings: Any) -> Catalogue:
    model = served(loras, **settings)

    async def base() -> Base:
        return base_of(model.name, place_of(model.model, "generation"))

    return Catalogue(model, base)


def find(found: Catalogue, name: str) -> AdapterPlace:
    return asyncio.run(found.find(name))


def names(found: Catalogue) -> list[str]:
    return [adapter.name for adapter in asyncio.run(found.usable())]


def refused(found: Catalogue, name: str) -> ApiError:
    with pytest.raises(ApiError) as raised:
        find(found, name)
    return raised.value


def test_a_place_of_each_kind(loras: Path, tmp_path: Path) -> None:
    result = as_result(tmp_path / "result", loras / "red", "0123abcd", ["CC-BY-4.0", "CC0-1.0"])
    cls: Any = family("flux_lora")
    cls.load(loras / "red").save_kohya(tmp_path / "kohya.safetensors")
    places = {
        "directory": loras / "red", "file": loras / "red" / LORA_FILE, "result": result,
        "kohya": tmp_path / "kohya.safetensors",
    }  # fmt: skip
    given: dict[str, Any] = {name: str(place) for name, place in places.items()}
    given["file"] = {"place": given["file"], "licence": "MIT"}
    found = catalogue(loras, adapters=given)
    assert names(found) == ["directory", "file", "kohya", "result"]
    each = {name: find(found, name) for name in given}
    assert (each["result"].version, each["result"].licence) == ("0123abcd", "CC-BY-4.0 AND CC0-1.0")
    assert each["file"].version == each["directory"].version == each["result"].fingerprint != each["kohya"].version
    assert each["file"].licence == "MIT" and each["directory"].licence == "unknown"
    assert each["directory"].about and each["directory"].about["config"]["rank"] == 2 and not each["file"].about


def test_an_adapter_in_s3(loras: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path))
    for file in sorted(path for path in (loras / "red").rglob("*") if path.is_file()):
        storage.write_bytes(f"{bucket}/adapters/red/{file.relative_to(loras / 'red')}", file.read_bytes())
    storage.write_bytes(f"{bucket}/adapters/plain.safetensors", (loras / "wide" / LORA_FILE).read_bytes())
    found = catalogue(loras, adapters_from=f"{bucket}/adapters")
    assert names(found) == ["plain", "red"]
    assert find(found, "red").version == place_of_adapter("red", ServedAdapter(place=str(loras / "red"))).version
    assert not list(tmp_path.rglob("*.safetensors")), "replicas copy it"


def test_what_comes_later_is_there_and_what_goes_is_not(loras: Path, tmp_path: Path) -> None:
    found = catalogue(loras, adapters_from=str(tmp_path), adapters={"mine": str(loras / "wide")})
    assert names(found) == ["mine"]
    shutil.copytree(loras / "red", tmp_path / "red")
    shutil.copy(loras / "wide" / LORA_FILE, tmp_path / "other.safetensors")
    assert names(found) == ["mine", "other", "red"]
    before = find(found, "other").version
    shutil.copy(loras / "red" / LORA_FILE, tmp_path / "other.safetensors")
    assert find(found, "other").version != before, "other weights"
    shutil.rmtree(tmp_path / "red")
    error = refused(found, "red")
    assert error.status == 404 and "model 'flux:red' is not served" in error.message
    assert "adapters of flux: flux:mine, flux:other" in error.message


def test_a_damaged_one_is_named_and_the_others_are_served(
    loras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("red", "wide"):
        shutil.copytree(loras / name, tmp_path / name)
    (tmp_path / "red" / LORA_FILE).write_bytes((loras / "red" / LORA_FILE).read_bytes()[:-10])
    (tmp_path / "odd name!.safetensors").write_bytes((loras / "red" / LORA_FILE).read_bytes())
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    found = catalogue(loras, adapters_from=str(tmp_path))
    told: list[str] = []
    monkeypatch.setattr(catalogues.logger, "error", lambda line, *said: told.append(line % said))
    assert names(found) == ["wide"]
    error = refused(found, "red")
    assert (error.status, error.code) == (409, "adapter_unusable")
    assert "model 'flux:red' cannot be used: " in error.message and "cut or damaged" in error.message
    assert str(tmp_path) not in error.message, "where it lies is no client's business"
    assert "a name that requests cannot give" in refused(found, "odd name!").message
    assert f"no {LORA_FILE} there; give a train result" in refused(found, "notes").message
    assert refused(found, ".hidden").status == refused(found, "../wide").status == 404
    assert len(told) == 3 and any("adapter flux:red cannot be used" in line and str(tmp_path) in line for line in told)
    assert names(found) == ["wide"] and len(told) == 3, "told once"
    shutil.copy(loras / "red" / LORA_FILE, tmp_path / "red" / LORA_FILE)
    assert names(found) == ["red", "wide"], "what was half copied is there once it is whole"


def test_adapters_of_other_bases_say_which_they_expect(loras: Path, tmp_path: Path) -> None:
    shutil.copytree(loras / "red", tmp_path / "longer")
    config = tmp_path / "longer" / "config.json"
    config.write_text(config.read_text().replace('"max_sequence_length": 16', '"max_sequence_length": 24'))
    cls: Any = family("flux_lora")
    words = cls.from_captions(cls.Config(image_size=32, rank=2, alpha=2, max_sequence_length=16), ["other words."])
    words.save(tmp_path / "words")
    shutil.copytree(loras / "sd", tmp_path / "sd")
    shutil.copytree(loras / "red", tmp_path / "elsewhere")
    config = tmp_path / "elsewhere" / "config.json"
    config.write_text(config.read_text().replace('"nano"', '"black-forest-labs/FLUX.1-dev"'))
    found = catalogue(loras, adapters_from=str(tmp_path))
    assert names(found) == []
    for name, why in (
        ("sd", "base: it expects nano of family stable_diffusion_lora, and flux is of family flux_lora"),
        ("words", "made for another base: it expects nano of family flux_lora, and flux has nano with other words or"),
        ("elsewhere", "it expects black-forest-labs/FLUX.1-dev of family flux_lora, and flux has nano"),
        ("longer", "it would draw other images than by itself; serve it as a model, or give its .safetensors file"),
    ):
        assert why in refused(found, name).message


def test_a_family_without_adapters_is_told(served_models: Path) -> None:
    place = place_of(str(served_models / "generator"), "generation")
    with pytest.raises(ValueError, match=r"models\.pixel: adapters need a family with adapters .* got pixel_dermdit"):
        base_of("pixel", place)
