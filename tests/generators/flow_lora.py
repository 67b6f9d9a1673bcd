"""What every flow family must do, held to a table of facts. A family's test file makes the facts and takes the tests:

    FACTS = Facts(...)
    globals().update(flow_tests(FACTS))

pytest then runs each as a test of that file. That training goes on bit for bit (tests/training/test_resume.py), and
that pixels are the same in any company (test_canvas.py), is tested for whatever is in the registry.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file
from torch import Tensor

from dermray.config import load, preset, validate
from dermray.generators import adapters, bare
from dermray.generators.base import FAMILIES, Request, family
from dermray.generators.flow_lora import FlowLora
from dermray.generators.published.bases import Folders, write_base
from dermray.training.caption_cache import to_bytes
from dermray.training.run import TrainConfig
from tests.generators.conftest import CAPTIONS, shaken
from tests.generators.fake_device import FakeDevice, live


@dataclass
class Facts:
    """Of a family.

    Args:
        loss: what diffusers' training script computes, of the pipeline, latents as the autoencoder makes them, the
            collated text, timesteps (B,) in (0, 1000], and noise of the shape that the transformer sees.
        published: configs by folder, as the base's repository has them, model_index.json's own fields under "".
        parameters: of the published parts, by folder. trained: those of the full-size preset. preset: its name.
        settings: of the small model, beside size, rank and alpha. side: its px. wrong: px that patches do not divide.
        call: options of the pipeline's call beside prompt, noise, size, steps. told: those that guidance becomes.
        scales: of guidance, that are drawn with. layout: whether ComfyUI's is defined.
    """

    cls: type[FlowLora]
    loss: Callable[[Any, Tensor, dict[str, Tensor], Tensor, Tensor], Tensor]
    published: Folders
    parameters: dict[str, int]
    trained: int
    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    side: int = 32
    wrong: int = 40
    call: dict[str, Any] = field(default_factory=dict)
    told: Callable[[float], dict[str, Any]] = lambda scale: {"guidance_scale": scale}
    scales: tuple[float, ...] = (1.0, 3.5)
    layout: bool = True
    plain: bool = True  # whether diffusers reads that layout of a small model
    waits: int = 1  # of the host, in a step: the loop's own, and one for the lengths of texts in a list
    buffers: frozenset[str] = frozenset()  # of frozen parts, which checkpoints keep as they keep all buffers
    text: int | None = None  # bytes of an encoded caption at full size

    def config(self, **changes: Any) -> Any:
        """Of a small model."""
        return self.cls.Config(**{"image_size": self.side, "rank": 4, "alpha": 8} | self.settings | changes)

    def model(self, **changes: Any) -> Any:
        """A small one that says something, in evaluation mode."""
        torch.manual_seed(0)
        return shaken(self.cls.from_captions(self.config(**changes), CAPTIONS)).eval()


def flow_tests(facts: Facts) -> dict[str, Any]:
    """A fixture and the tests, by name."""
    cls, side = facts.cls, facts.side

    @pytest.fixture(scope="module")
    def model() -> Any:
        return facts.model()

    @pytest.fixture(scope="module")
    def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
        directory = tmp_path_factory.mktemp("saved")
        model.save(directory)
        return directory

    def batch_of(model: Any) -> dict[str, Tensor]:
        pixels = torch.Generator().manual_seed(1)
        images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=pixels)
        batch: dict[str, Tensor] = model.collate(model.encode(images, CAPTIONS))
        return batch

    def test_only_adapters_learn() -> None:
        model = facts.model().train()
        model(batch_of(model)).backward()
        learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert learned == {name for name, _ in model.named_parameters() if ".lora_" in name}

    def test_the_loss_is_that_of_diffusers_script(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        batch, drawn, noises = batch_of(model), torch.randn_like, list[Tensor]()
        if cls.drawn:
            batch["moments"][:, batch["moments"].shape[1] // 2 :] = -30  # no variance: latents are their mean
        timesteps = torch.tensor([300.0, 700.0])
        monkeypatch.setattr(model, "draw_sigmas", lambda latents: timesteps / 1000)
        monkeypatch.setattr(model, "DROPOUT", {})
        monkeypatch.setattr(torch, "randn_like", lambda like: noises.__iadd__([drawn(like)])[-1])
        latents = batch["moments"].chunk(2, 1)[0] if cls.drawn else batch["moments"]
        text = {name: value for name, value in batch.items() if name != "moments"}
        with torch.no_grad():
            ours = model(batch)
            theirs = facts.loss(model.pipeline, latents, text, timesteps, noises[-1])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("scale", facts.scales)
    def test_plain_diffusers_draws_the_same(scale: float, model: Any, saved: Path) -> None:
        asked = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
        ours = model.sample(asked, scale, 4)
        assert torch.equal(cls.load(saved).sample(asked, scale, 4), ours)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(saved / "base")
        assert type(pipeline) is cls.Pipeline
        pipeline.set_progress_bar_config(disable=True)

        def draw() -> Tensor:
            images = [
                pipeline(
                    prompt=prompt, generator=torch.Generator().manual_seed(seed), height=side, width=side,
                    num_inference_steps=4, output_type="pt", **facts.call, **facts.told(scale),
                ).images[0]
                for prompt, seed in zip(CAPTIONS, (7, 8), strict=True)
            ]  # fmt: skip
            return (torch.stack(images) * 255).round().int()

        without = draw()
        pipeline.load_lora_weights(saved)
        assert (draw() - ours).abs().max() <= 1, "one of 256 levels"
        assert (without - ours).abs().max() > 3, "the adapter is heard"

    def test_the_base_encodes_ahead_and_draws_without_its_encoders(model: Any, saved: Path) -> None:
        config = facts.config(base=str(saved / "base"))
        encoder = cls.encoder(config, [])
        assert encoder.transformer is None
        batch, ahead = batch_of(model), batch_of(encoder)
        assert batch.keys() == ahead.keys() and all(torch.equal(batch[name], ahead[name]) for name in batch)
        asked = ["", CAPTIONS[0]]
        texts = {text: load_bytes(to_bytes(s)) for text, s in zip(asked, encoder.encode_texts(asked), strict=True)}
        bare = cls.without_encoders(config, [], texts)
        assert all(getattr(bare, module) is None for module in cls.ENCODERS.values())
        adapters.put_lora_weights(bare.transformer, adapters.lora_weights(model.transformer))
        request = [Request(CAPTIONS[0], 7)]
        drawn = bare.sample(request, facts.scales[-1], 2).int()
        assert (drawn - model.sample(request, facts.scales[-1], 2)).abs().max() <= 1

    def test_a_file_is_gone_on_from_and_that_of_another_base_refused(saved: Path, tmp_path: Path) -> None:
        file = saved / adapters.LORA_FILE
        started = cls.from_captions(facts.config(start_from=str(file)), CAPTIONS)
        weights = adapters.lora_weights(started.transformer)
        assert all(torch.equal(value, weights[name.partition(".")[2]]) for name, value in load_file(file).items())
        cls.check_start(facts.config(start_from=str(file)))
        wide = {name: value.repeat(1, 2) if ".lora_A." in name else value for name, value in load_file(file).items()}
        save_file(wide, tmp_path / "wide.safetensors")
        with pytest.raises(ValueError, match=r"made for another base model: .* \(in, out\) channels in the file"):
            cls.check_start(facts.config(start_from=str(tmp_path / "wide.safetensors"), alpha=4))

    def test_a_base_of_another_family_is_refused_and_the_right_one_named(tmp_path: Path) -> None:
        own = cls.Pipeline.__name__
        for name in FAMILIES:
            theirs = getattr(family(name).Pipeline, "__name__", own)
            if theirs == own:
                continue
            write_base(tmp_path, theirs, {})
            with pytest.raises(ValueError, match=f"expected a {own} .*, got a {theirs}; give .* or family=.*{name}"):
                cls.check_start(facts.config(base=str(tmp_path)))

    def test_a_base_without_its_text_encoder_is_refused(saved: Path, tmp_path: Path) -> None:
        index = json.loads((saved / "base" / "model_index.json").read_text())
        folder = next(iter(cls.ENCODERS))
        for part in (saved / "base").iterdir():
            if part.name not in (folder, "model_index.json"):
                (tmp_path / part.name).symlink_to(part)
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=f"expected a {cls.Pipeline.__name__} .* and it lacks {folder}"):
            cls.check_start(facts.config(base=str(tmp_path)))

    def test_sizes_that_patches_do_not_divide_are_refused(model: Any) -> None:
        with pytest.raises(ValueError, match="multiple"):
            facts.config(image_size=facts.wrong)
        with pytest.raises(
            ValueError, match=f"size={facts.wrong}: family {cls.name} draws multiples of {cls.patch} px"
        ):
            model.sample([Request(CAPTIONS[0], 7, facts.wrong)], 1.0, 1)

    @pytest.mark.parametrize("kind", ["nf4", "fp8"])
    def test_few_bits_are_refused_where_blocks_do_not_allow_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cls, "few_bits", tuple(allowed for allowed in cls.few_bits if allowed != kind))
        with pytest.raises(ValueError, match=f"quantization={kind}: the blocks of family {cls.name} do not allow it"):
            cls.check_start(facts.config(base="some/base", quantization=kind))

    def test_comfyui_reads_it_and_it_is_read_back(model: Any, saved: Path, tmp_path: Path) -> None:
        file = tmp_path / "adapter.safetensors"
        if not facts.layout:
            with pytest.raises(ValueError, match="no layout for ComfyUI is defined"):
                model.save_kohya(file)
            return
        model.save_kohya(file)
        back = cls.from_captions(facts.config(start_from=str(file)), CAPTIONS)
        theirs = adapters.lora_weights(back.transformer)
        assert all(torch.equal(value, theirs[name]) for name, value in adapters.lora_weights(model.transformer).items())
        if not facts.plain:
            return
        pipeline = diffusers.DiffusionPipeline.from_pretrained(saved / "base")
        pipeline.load_lora_weights(file)
        read = adapters.lora_weights(pipeline.transformer, next(iter(pipeline.transformer.peft_config)))
        assert {name.rpartition(".lora_")[0] for name in read} == set(adapters.adapted_modules(model.transformer))
        scale = model.config.alpha / model.config.rank  # which diffusers multiplies into the matrices
        for module in adapters.adapted_modules(model.transformer):
            down, up = (theirs[f"{module}.lora_{side}.weight"] for side in "AB")
            plain = read[f"{module}.lora_B.weight"] @ read[f"{module}.lora_A.weight"]
            torch.testing.assert_close(plain, scale * up @ down, rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    def test_full_size(tmp_path: Path) -> None:
        """Two training steps, a validation, drawings, as the preset says, by the published configs."""
        given = load(TrainConfig, preset(f"train/{facts.preset}"), [])
        base = write_base(tmp_path, cls.Pipeline.__name__, facts.published)
        config: Any = validate(cls.Config, given.model | {"base": base})
        with FakeDevice() as device:
            model: Any = bare.build(cls.name, config, CAPTIONS, device.take)
            counts = {}
            for folder in facts.parameters:
                part = getattr(model.pipeline, folder)
                counts[folder] = sum(p.numel() for name, p in part.named_parameters() if ".lora_" not in name)
            assert counts == facts.parameters
            text = model.encode_texts(CAPTIONS[:1])[0].values()
            assert facts.text in (None, sum(part.numel() * part.element_size() for part in text))
            life = live(device, model, given.loop.counted(10_000), facts.scales[-1], 2)
        assert life.drawn.shape == (2, 3, config.image_size, config.image_size) and life.drawn.dtype == torch.uint8
        assert len(life.waits_of_a_step) <= facts.waits, life.waits_of_a_step
        assert life.trained == facts.trained and {p.dtype for p in life.state.trained} == {torch.float32}
        assert {name for name in life.checkpoint if ".lora_" not in name} == facts.buffers, "else nothing frozen"
        assert sum(count for name, count in life.checkpoint.items() if ".lora_" in name) == life.trained

    return {name: made for name, made in locals().items() if name.startswith("test_") or name in ("model", "saved")}
