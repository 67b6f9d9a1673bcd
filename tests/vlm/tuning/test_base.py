"""What a base or an adapter to begin with may lack is said before anything is started."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dermray import manifest
from dermray.captioning.adapters import CONFIG, TENSORS
from dermray.config import ConfigError
from dermray.manifest import Rows
from dermray.vlm.tuning import adapters
from dermray.vlm.tuning.base import find
from dermray.vlm.tuning.bill import dry_run, planned
from dermray.vlm.tuning.licence import licence_of
from tests.vlm.tuning.tasks import base_of, config_of, nano

Models = Callable[[str], Path]


@pytest.fixture
def copy(models: Models, tmp_path: Path) -> Path:
    """The nano captioner, to be spoilt."""
    return Path(shutil.copytree(models("nano"), tmp_path / "copy"))


def test_a_directory_is_found_with_its_licence(copy: Path) -> None:
    (copy / "README.md").write_text("---\nlicense: other\nlicense_name: health-ai\n---\n# A model\n")
    found = find(config_of(copy, licence=None))
    assert (found.base.place, found.licence, found.inputs) == (str(copy), "health-ai", {})
    assert found.base.revision and len(found.base.revision) == 12
    assert find(config_of(copy, licence="mine")).licence == "mine"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("README.md", "---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("README.md", "---\nlicense: [mit, cc-by-4.0]\n---\n", "mit, cc-by-4.0"),
        (
            "LICENSE.txt",
            "\n  LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nVersion\n",
            "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT",
        ),
        ("LICENCE", "", "LICENCE"),
        ("README.md", "# no metadata\n", None),
        ("README.md", "---\nlicense: [\n---\n", None),
        ("README.md", "---\nlicense: other\n---\n", "other"),
    ],
)
def test_licences_of_cards_and_files(name: str, text: str, licence: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence


def test_no_licence_is_an_error_that_says_what_to_do(copy: Path) -> None:
    with pytest.raises(ValueError, match=r"base=.*: no licence is stated there .* give it as licence="):
        find(config_of(copy, licence=None))


def test_a_template_without_a_place_for_the_image(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'][-1]['text'] }}{% endfor %}")
    with pytest.raises(ConfigError, match="its chat template has no place for an image"):
        find(config_of(copy))


def test_no_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        find(config_of(copy))


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    shutil.rmtree(copy / "vllm")
    with pytest.raises(FileNotFoundError, match="no weights there"):
        find(config_of(copy))


@pytest.mark.parametrize("kind", ["bert", "no_such_model"])
def test_a_model_of_another_kind(kind: str, copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ValueError, match=f"expected a model .*|model_type '{kind}'"):
        find(config_of(copy))


def test_gemma_is_not_trained_in_fp16(models: Models) -> None:
    with pytest.raises(ConfigError, match=r"loop.precision=fp16: gemma3 overflows"):
        find(config_of(models("gemma3"), loop={"precision": "fp16"}))


def test_packing_where_it_cannot_be(models: Models) -> None:
    with pytest.raises(ConfigError, match="packing with qwen3_vl"):
        find(config_of(models("qwen3_vl"), packing=True))


def test_the_bill_counts_what_is_trained(models: Models) -> None:
    config = config_of(models("nano"), lora={"rank": 3}, parts=["projector"])
    told = dry_run(config)
    # two linear layers of 32 x 32: (32 + 32) x 3 each
    assert "384 trained" in told and "licence own" in told and "language model " in told
    assert f"{config.rows}: not there yet" in told
    everything = config_of(models("nano"), method="full", parts=["language_model", "vision_tower", "projector"])
    sizes = planned(everything, find(everything))
    assert sizes == (sum(p.numel() for p in base_of(models("nano")).load().parameters()), 0)


class TestAdapters:
    """What is saved is what peft reads, and what training begins with has to fit."""

    @pytest.fixture
    def adapter(self, models: Models, tmp_path: Path) -> Path:
        base = base_of(models("nano"))
        made = adapters.prepared(base.load(), base, config_of(models("nano")), None)
        for weight in made.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.1)
        adapters.save(made, base, tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_peft_reads_it_and_says_the_same(self, adapter: Path, models: Models) -> None:
        import peft

        base = base_of(models("nano"))
        ids = {"input_ids": torch.tensor([[1, 5, 9]])}
        read = peft.PeftModel.from_pretrained(base.load(), str(adapter)).eval()
        going_on = adapters.prepared(base.load(), base, config_of(models("nano"), start_from=str(adapter)), adapter)
        with torch.no_grad():
            plain, said, again = (model.eval()(**ids).logits for model in (base.load(), read, going_on))
        assert torch.equal(said, again) and not torch.allclose(said, plain)
        assert json.loads((adapter / CONFIG).read_text())["base_model_name_or_path"] == str(models("nano"))
        trained, _ = adapters.trained_and_frozen(going_on)
        config = config_of(models("nano"), start_from=str(adapter))
        assert planned(config, find(config))[0] == trained > 0

    def test_of_another_base(self, adapter: Path, models: Models, tmp_path: Path) -> None:
        for other, message in (("llava", " is .* there it is"), ("smolvlm", "there is none there")):
            config = config_of(models(other), start_from=str(adapter))
            with pytest.raises(ValueError, match=f"adapter of another base than .*{message}"):
                planned(config, find(config))
        same = tmp_path / "same"
        nano(same, seed=1)  # of the same shape: nothing tells it from the base but its name
        planned(config_of(same, start_from=str(adapter)), find(config_of(same)))

    def test_a_result_of_ours_knows_the_weights_that_it_was_tuned_on(
        self, adapter: Path, models: Models, tmp_path: Path
    ) -> None:
        base, result = base_of(models("nano")), str(tmp_path / "result")
        with manifest.work("tune-vlm", result, config_of(models("nano")), {}) as work:
            shutil.copytree(adapter, Path(work.data) / "model")
            one = Rows(rows_in=1, ok=1, rejected=0, failed=0)
            work.commit(one, 1, base=base.place, base_revision=find(config_of(models("nano"))).base.revision)
        moved = shutil.copytree(models("nano"), tmp_path / "moved")
        planned(config_of(moved, start_from=result), find(config_of(moved)))
        nano(tmp_path / "other", seed=1)  # of the same shape
        other = config_of(tmp_path / "other", start_from=result)
        with pytest.raises(ValueError, match="of another base than .*: it was tuned on .*, whose weights are"):
            planned(other, find(other))

    def test_that_is_no_lora(self, adapter: Path, models: Models) -> None:
        settings = json.loads((adapter / CONFIG).read_text())
        (adapter / CONFIG).write_text(json.dumps(settings | {"peft_type": "IA3"}))
        with pytest.raises(ValueError, match="an adapter of type IA3; expected peft's LORA"):
            adapters.locate_adapter(str(adapter))
        (adapter / TENSORS).unlink()
        (adapter / CONFIG).write_text(json.dumps(settings))
        with pytest.raises(ValueError, match=r"no adapter_model.safetensors"):
            adapters.locate_adapter(str(adapter))

    def test_that_is_given_as_the_base(self, adapter: Path) -> None:
        with pytest.raises(ValueError, match="an adapter, not a model; give it as start_from"):
            find(config_of(adapter))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_trained_weights_are_fp32_in_a_bf16_base(method: str, models: Models, tmp_path: Path) -> None:
    config = config_of(models("llava"), method=method, dtype="bf16", loop={"precision": "bf16"})
    base = base_of(models("llava"), "bf16")
    model = adapters.prepared(base.load(), base, config, None)
    kinds = {trained: {p.dtype for p in model.parameters() if p.requires_grad is trained} for trained in (True, False)}
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
    if method == "full":
        adapters.save(model, base, tmp_path / "whole")
        again = base_of(tmp_path / "whole", "bf16").load()
        assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}, "saving changes nothing"
