"""Adapters merged into their base, held to peft's own forward pass."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dermray import weights
from dermray.captioning import adapters, models
from dermray.config import ConfigError
from dermray.publishing.command import export
from dermray.vlm import nano
from dermray.vlm.lessons import draw_lessons
from dermray.vlm.tuning import merged
from tests.vlm.tuning.hosting import ALL, LANGUAGE, SMALL, result_of, save, small_base, with_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("base") / "model")


def logits(model: torch.nn.Module) -> torch.Tensor:
    lessons = draw_lessons(SMALL, nano.build_processor(SMALL), 3, 4)
    with torch.no_grad():
        said = model(input_ids=lessons.tokens, pixel_values=lessons.pixels.float() / 127.5 - 1).logits
    assert isinstance(said, torch.Tensor)
    return said


@pytest.mark.parametrize("given", [{}, {"use_dora": True}, {"rank_pattern": {"q_proj": 2}, "use_rslora": True}])
def test_the_merged_model_says_what_base_and_adapter_say(base: Path, tmp_path: Path, given: dict[str, object]) -> None:
    adapted = with_adapter(base, ALL, 0.1, **given)
    merged.merge(str(base), save(adapted, base, tmp_path / "adapter"), tmp_path / "merged")
    whole, processor = nano.load(tmp_path / "merged")
    torch.testing.assert_close(logits(whole.eval()), logits(adapted), rtol=1e-4, atol=1e-4)
    assert (logits(nano.load(base)[0].eval()) - logits(adapted)).abs().max() > 0.01, "the adapter is heard"
    assert processor.chat_template == nano.CHAT_TEMPLATE


def test_its_weights_have_the_names_of_the_base_for_vllm(base: Path, tmp_path: Path) -> None:
    merged.merge(str(base), save(with_adapter(base, ALL, 0.1), base, tmp_path / "adapter"), tmp_path / "merged")
    with (
        safe_open(tmp_path / "merged" / "model.safetensors", "pt") as ours,
        safe_open(base / "vllm" / "model.safetensors", "pt") as theirs,
    ):
        assert set(ours.keys()) == set(theirs.keys())


def test_shards_and_their_index_are_renamed_alike(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "SHARD", "50KB")
    model, processor = nano.load(base)
    merged.write(model, processor, tmp_path / "merged")
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 1
    again, _ = nano.load(tmp_path / "merged")
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_what_vllm_serves_is_left_alone_and_the_rest_is_merged(base: Path, tmp_path: Path) -> None:
    served, model = result_of(tmp_path / "served")
    save(with_adapter(base, LANGUAGE, 0.1), base, model)
    assert merged.beside(served.data) is None and not (Path(served.data) / "merged").exists()
    found = models.find(served.uri, None)
    assert found.model == str(base / "vllm") and found.name == served.manifest.key and found.inputs
    assert found.settings["lora"] == str(model) and found.settings["lora_rank"] == 8

    seeing, model = result_of(tmp_path / "seeing")
    save(with_adapter(base, ALL, 0.1), base, model)
    with pytest.raises(ValueError, match=r"would pass over 8 of its 15 layers, .* merge it once, dermray export"):
        models.find(seeing.uri, None)
    assert "outside the language model's blocks, such as model." in str(merged.beside(seeing.data))
    found = models.find(seeing.uri, None)
    assert found.model == f"{seeing.data}/merged" and set(found.settings) == {"revision"}
    before = (Path(found.model) / "model.safetensors").stat().st_mtime_ns
    merged.beside(seeing.data)
    assert (Path(found.model) / "model.safetensors").stat().st_mtime_ns == before, "once is enough"


def test_an_export_needs_neither_base_nor_adapter(base: Path, tmp_path: Path, bucket: str) -> None:
    tuned, model = result_of(tmp_path / "tuned")
    adapted = with_adapter(base, LANGUAGE, 0.1)
    save(adapted, base, model)
    (model / "README.md").write_text("license: cc-by-nc")
    assert "whole: the tuned model, whole" in export(tuned.uri, f"{tmp_path}/whole", "merged", None, [])
    assert (tmp_path / "whole" / "README.md").read_text().startswith("license: cc-by-nc\n**Merged**")
    torch.testing.assert_close(logits(nano.load(tmp_path / "whole")[0].eval()), logits(adapted), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="whole: exists; choose another directory"):
        export(tuned.uri, f"{tmp_path}/whole", None, None, [])
    export(tuned.uri, f"{bucket}/whole", None, None, [])
    assert adapters.config_of(weights.locate_small(f"{bucket}/whole", "x"))["model_type"] == "llava"
    with pytest.raises(ConfigError, match="a tuned model is exported whole"):
        export(tuned.uri, f"{tmp_path}/rows", "parquet", None, [])
    other, _ = result_of(tmp_path / "other", "caption")
    with pytest.raises(ConfigError, match="result of stage 'caption'; --format merged is for tune-vlm's"):
        export(other.uri, f"{tmp_path}/rows", "merged", None, [])


def test_a_base_that_has_changed_or_gone_is_told(tmp_path: Path) -> None:
    base = small_base(tmp_path / "base")
    tuned, model = result_of(tmp_path / "tuned", base_revision=weights.fingerprint(str(base)))
    save(with_adapter(base, LANGUAGE, 0.1), base, model)
    assert models.find(tuned.uri, None).model == str(base / "vllm")
    (base / "chat_template.jinja").write_text("another")
    with pytest.raises(ValueError, match="an adapter of another base than .*/base is now: its files have changed"):
        models.find(tuned.uri, None)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="base, which is no longer there; put it back, or merge it once"):
        models.find(tuned.uri, None)
    other, _ = result_of(tmp_path / "other", "sweep")
    with pytest.raises(ValueError, match="result of stage 'sweep', expected one of 'captioner' or 'tune-vlm'"):
        models.find(other.uri, None)
