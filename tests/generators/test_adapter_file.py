"""Adapter files of others: read whole, with the effect that diffusers gives them, or refused by name."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from dermray.generators import adapters
from dermray.generators.adapter_file import read_layers
from dermray.generators.flux_lora import FluxLora, FluxLoraConfig
from dermray.generators.stable_diffusion_lora import StableDiffusionLora, StableDiffusionLoraConfig
from tests.generators.conftest import CAPTIONS, shaken

FLUX = FluxLoraConfig(image_size=32, rank=4, alpha=8, max_sequence_length=16)
SD = StableDiffusionLoraConfig(image_size=32, rank=4, alpha=8)
UNET_ONLY = SD.model_copy(update={"train_text_encoder": False})
BOTH = pytest.mark.parametrize(("cls", "config"), [(FluxLora, FLUX), (StableDiffusionLora, SD)], ids=["flux", "sd"])
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """By family, a directory with a base, its adapter in diffusers' form and in kohya's."""
    directories = {}
    for cls, config in ((FluxLora, FLUX), (StableDiffusionLora, SD)):
        directories[cls] = tmp_path_factory.mktemp("saved")
        model: Any = shaken(cls.from_captions(config, CAPTIONS))
        model.save(directories[cls])
        model.save_kohya(directories[cls] / "kohya.safetensors")
    return directories


def begun(
    cls: Any, config: Any, state: State, directory: Path, metadata: dict[str, str] | None = None, **more: Any
) -> Any:
    """A generator that starts from a file of these tensors."""
    file = directory / "start.safetensors"
    save_file({name: value.clone().contiguous() for name, value in state.items()}, file, metadata)
    return cls.from_captions(config.model_copy(update={"start_from": str(file)} | more), CAPTIONS)


def deltas(model: nn.Module) -> dict[str, Tensor]:
    """What each adapter adds to its layer's weight."""
    return {
        name: layer.get_delta_weight(next(iter(layer.lora_A)))
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def assert_same_effect(model: nn.Module, other: nn.Module) -> None:
    ours, theirs = deltas(model), deltas(other)
    assert ours.keys() == theirs.keys() and any(delta.any() for delta in ours.values())
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    for old, new in pairs:
        state = {key.replace(old, new): value for key, value in state.items()}
    return state


def without_alphas(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith(".alpha")}


@BOTH
@pytest.mark.parametrize("form", ["diffusers", "kohya"])
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "fresh"])
def test_our_own_files_are_read_back_exactly(cls: Any, config: Any, form: str, trained: bool, tmp_path: Path) -> None:
    model = cls.from_captions(config, CAPTIONS)
    if trained:
        shaken(model)
    model.save(tmp_path)
    model.save_kohya(tmp_path / "kohya.safetensors")
    start = str(tmp_path / ("kohya.safetensors" if form == "kohya" else adapters.LORA_FILE))
    again = cls.from_captions(config.model_copy(update={"start_from": start}), CAPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"start_from=.*: alpha 8, but model.alpha=3; give model.alpha=8"):
        cls.from_captions(config.model_copy(update={"start_from": start, "alpha": 3.0}), CAPTIONS)
    with pytest.raises(ValueError, match=r"start_from=.*: rank 4, but model.rank=2; give model.rank=4"):
        cls.from_captions(config.model_copy(update={"start_from": start, "rank": 2}), CAPTIONS)


@pytest.mark.parametrize("alpha", [0.1, 1 / 3, 10.7, 1e5])
def test_alphas_that_single_precision_rounds_are_one_alpha(alpha: float, tmp_path: Path) -> None:
    """Several modules at once are written with so many times the alpha, each rounded by itself."""
    config = FLUX.model_copy(update={"alpha": alpha})
    FluxLora.from_captions(config, CAPTIONS).save_kohya(tmp_path / "kohya.safetensors")
    FluxLora.check_start(config.model_copy(update={"start_from": str(tmp_path / "kohya.safetensors")}))


@BOTH
def test_a_file_without_alpha_has_the_scale_that_diffusers_gives_it(
    cls: Any, config: Any, saved: dict[Any, Path], tmp_path: Path
) -> None:
    state = load_file(saved[cls] / adapters.LORA_FILE)  # its metadata, with the alpha, is left behind
    with pytest.raises(
        ValueError, match=r"alpha 4 \(not in the file: a scale of 1\), but model.alpha=8; give model.alpha=4"
    ):
        begun(cls, config, state, tmp_path)
    model = begun(cls, config, state, tmp_path, alpha=4.0)
    pipeline: Any = (FluxPipeline if cls is FluxLora else StableDiffusionPipeline).from_pretrained(saved[cls] / "base")
    pipeline.load_lora_weights(tmp_path / "start.safetensors")
    for part in ("transformer",) if cls is FluxLora else ("unet", "text_encoder"):
        assert_same_effect(getattr(model.pipeline, part), getattr(pipeline, part))


@pytest.mark.parametrize("alphas", [True, False], ids=["alphas", "no alphas"])
def test_kohyas_file_has_the_effect_that_diffusers_gives_it(
    alphas: bool, saved: dict[Any, Path], tmp_path: Path
) -> None:
    state = load_file(saved[StableDiffusionLora] / "kohya.safetensors")
    state = renamed(state if alphas else without_alphas(state), ("lora_te_", "lora_te1_"))
    model = begun(StableDiffusionLora, SD, state, tmp_path, alpha=8.0 if alphas else 4.0)
    pipeline = StableDiffusionPipeline.from_pretrained(saved[StableDiffusionLora] / "base")
    pipeline.load_lora_weights(tmp_path / "start.safetensors")
    assert_same_effect(model.unet, pipeline.unet)
    assert_same_effect(model.clip, pipeline.text_encoder)


def test_what_diffusers_wrote_before_peft_has_the_same_effect(saved: dict[Any, Path], tmp_path: Path) -> None:
    state = {
        k: v for k, v in load_file(saved[StableDiffusionLora] / adapters.LORA_FILE).items() if k.startswith("unet.")
    }
    old = {
        re.sub(r"\.to_([a-z]+)(\.0)?\.lora_", r".processor.to_\1_lora.lora_", key): value
        for key, value in state.items()
    }
    old = renamed(old, (".lora_A.", ".down."), (".lora_B.", ".up."))
    assert "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight" in old
    model = begun(StableDiffusionLora, UNET_ONLY, old, tmp_path, alpha=4.0)
    pipeline = StableDiffusionPipeline.from_pretrained(saved[StableDiffusionLora] / "base")
    pipeline.load_lora_weights(tmp_path / "start.safetensors")
    assert_same_effect(model.unet, pipeline.unet)


def comfy(kohya: State) -> State:
    """The original layers with dots."""
    names = {
        key: re.sub(r"lora_unet_(double|single)_blocks_(\d+)_", r"diffusion_model.\1_blocks.\2.", key) for key in kohya
    }
    return {re.sub(r"(img|txt)_attn_", r"\1_attn.", names[key]): value for key, value in kohya.items()}


def onetrainer(diffusers: State) -> State:
    """diffusers' layers with underscores, the sides as kohya names them, alphas beside them."""
    state = {}
    for key, value in diffusers.items():
        layer, _, side = key.removeprefix("transformer.").partition(".lora_")
        name = f"lora_transformer_{layer.replace('.', '_')}"
        state[f"{name}.lora_{'down' if side[0] == 'A' else 'up'}.weight"] = value
        state[f"{name}.alpha"] = torch.tensor(8.0)
    return state


FORMS: dict[str, Callable[[State, State], State]] = {  # of (diffusers' form, kohya's)
    "AI-toolkit": lambda diffusers, kohya: diffusers,
    "peft's adapter name": lambda diffusers, kohya: renamed(diffusers, (".weight", ".default.weight")),
    "ComfyUI": lambda diffusers, kohya: comfy(kohya),
    "ComfyUI, A and B": lambda diffusers, kohya: renamed(comfy(kohya), ("lora_down", "lora_A"), ("lora_up", "lora_B")),
    "OneTrainer": lambda diffusers, kohya: onetrainer(diffusers),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_flux_files_of_other_programs_are_read_whole(form: str, saved: dict[Any, Path], tmp_path: Path) -> None:
    directory = saved[FluxLora]
    diffusers, kohya = load_file(directory / adapters.LORA_FILE), load_file(directory / "kohya.safetensors")
    state = FORMS[form](diffusers, kohya)
    alpha = 8.0 if any(key.endswith(".alpha") for key in state) else 4.0
    model, original = begun(FluxLora, FLUX, state, tmp_path, alpha=alpha), FluxLora.load(directory)
    for (name, ours), theirs in zip(original.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_text_encoder_that_would_not_be_trained_is_refused(saved: dict[Any, Path], tmp_path: Path) -> None:
    for file in (adapters.LORA_FILE, "kohya.safetensors"):
        state = load_file(saved[StableDiffusionLora] / file)
        with pytest.raises(
            ValueError, match=r"text encoder, which this run does not train: .*q_proj.* and \d+ more; .*true"
        ):
            begun(StableDiffusionLora, UNET_ONLY, state, tmp_path, alpha=8.0)
        unet = {key: value for key, value in state.items() if key.startswith(("unet.", "lora_unet_"))}
        alpha = 4.0 if file == adapters.LORA_FILE else 8.0
        assert begun(StableDiffusionLora, UNET_ONLY, unet, tmp_path, alpha=alpha).config.alpha == alpha
        with pytest.raises(
            ValueError, match=r"no adapters for \d+ of this run's \d+ layers: text_encoder.*train_text_enc"
        ):
            begun(StableDiffusionLora, SD, unet, tmp_path)
    flux = load_file(saved[FluxLora] / "kohya.safetensors")
    clip = {key: value for key, value in state.items() if key.startswith("lora_te_")}
    with pytest.raises(ValueError, match="text encoder, which this run does not train: lora_te1_"):
        begun(FluxLora, FLUX, flux | renamed(clip, ("lora_te_", "lora_te1_")), tmp_path)


@BOTH
@pytest.mark.parametrize("base", ["nano", "directory"])
def test_what_does_not_fit_is_found_without_the_bases_weights(
    cls: Any, config: Any, base: str, saved: dict[Any, Path], tmp_path: Path
) -> None:
    if base == "directory":
        bare = shutil.copytree(saved[cls] / "base", tmp_path / "base")
        for weights in bare.rglob("*.safetensors"):
            weights.write_bytes(save({}))  # whoever reads them fails
        config = config.model_copy(update={"base": str(bare)})
    cls.check_start(config)
    start = config.model_copy(update={"start_from": str(saved[cls] / "kohya.safetensors")})
    cls.check_start(start)
    with pytest.raises(ValueError, match="rank 4, but model.rank=2"):
        cls.check_start(start.model_copy(update={"rank": 2}))
    other = saved[FluxLora if cls is StableDiffusionLora else StableDiffusionLora] / adapters.LORA_FILE
    with pytest.raises(ValueError, match=f"start_from={other}: (layers|adapters of a text)"):
        cls.check_start(config.model_copy(update={"start_from": str(other)}))


LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({f"{LAYER}.dora_scale": (8, 1)}, f"this is DoRA: {LAYER}.dora_scale; only plain LoRA is read"),
        ({f"{LAYER}.lora_magnitude_vector": (8,)}, "this is DoRA"),
        ({f"x{i}.hada_w1_a": (2, 2) for i in range(5)}, "this is LoHa: x0.hada_w1_a, .* and 2 more; only plain LoRA"),
        ({"x.lokr_w1": (2, 2)}, "this is LoKr"),
        ({"x.lora_mid.weight": (2, 2, 3, 3)}, "this is LoCon in Tucker's form"),
        ({"x.diff": (8,), "x.diff_b": (8,)}, "this is trained weights or biases beside the adapters: x.diff, x.diff_b"),
        ({f"{LAYER}.lora_B.bias": (8,)}, "this is adapters with biases"),
        ({"base_model.model.x.lora_A.weight": (4, 8)}, "this is peft's own format, whose alpha lies in another file"),
        ({"model.diffusion_model.out.0.weight": (8,)}, "keys that no LoRA has: model.diffusion_model.out.0.weight"),
        ({"unet.conv_in.lora_A.weight": (4, 4, 3, 3), "unet.conv_in.lora_B.weight": (8, 4, 1, 1)},
         "adapters of convolutions: unet.conv_in"),
        ({"unet.up.lora_A.weight": (4, 8), "unet.up.lora_B.weight": (8, 4)},
         r"layers that this run has no adapters for: unet.up; it has \d+, such as text_encoder"),
        ({"unet.up.lora_A.weight": (4, 8)}, "layers of which a part is missing: unet.up; the file is damaged"),
        ({"unet.up.alpha": ()}, "layers of which a part is missing: unet.up"),
    ],
)  # fmt: skip
def test_what_would_be_left_out_is_refused_by_name(
    keys: dict[str, tuple[int, ...]], message: str, saved: dict[Any, Path], tmp_path: Path
) -> None:
    state = load_file(saved[StableDiffusionLora] / adapters.LORA_FILE)
    with pytest.raises(ValueError, match=rf"start_from=.*: {message}"):
        begun(
            StableDiffusionLora,
            SD,
            state | {key: torch.ones(shape) for key, shape in keys.items()},
            tmp_path,
            alpha=4.0,
        )


def test_several_ranks_alphas_and_bases_are_refused(saved: dict[Any, Path], tmp_path: Path) -> None:
    state = load_file(saved[StableDiffusionLora] / "kohya.safetensors")
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    down, up = state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"]
    layers = len(state) // 3
    for change, message in (
        ({f"{name}.alpha": torch.tensor(1.0)}, rf"several alphas \(1 in 1 layers, 8 in {layers - 1}\), .*=8"),
        ({f"{name}.lora_down.weight": down[:2], f"{name}.lora_up.weight": up[:, :2]},
         rf"several ranks \(2 in 1 layers, 4 in {layers - 1}\), .* model.rank=4"),
        ({f"{name}.lora_down.weight": down[:, :8]}, r"another base model: unet.mid.* has \(8, \d+\) .* \(32, 32\)"),
        ({f"{name}.lora_down.weight": down[:2]}, "matrices that do not fit together"),
        ({f"{name}.lora_down.weight": down * float("nan")}, f"values that are no numbers: {name}"),
        ({f"{name}.alpha": torch.ones(2)}, r"expected one number, got shape \(2,\)"),
        ({key.replace("lora_unet_", "unet."): state[key] for key in state if key.startswith(name)},
         f"two adapters for {LAYER}"),
        ({f"{name}.lora_A.weight": down}, "two tensors for one matrix"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            begun(StableDiffusionLora, SD, state | change, tmp_path)


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"use_rslora": True}, {"alpha_pattern": {"to_q": 3}}])
def test_settings_in_the_metadata_that_change_the_scale_are_refused(setting: dict[str, Any]) -> None:
    state = {"unet.x.lora_A.weight": torch.ones(1, 2), "unet.x.lora_B.weight": torch.ones(2, 1)}
    metadata = {f"unet.{name}": value for name, value in (setting | {"lora_alpha": 3}).items()}
    with pytest.raises(ValueError, match=f"trained with unet.{next(iter(setting))}; only plain LoRA of one alpha"):
        read_layers(save(state, {"lora_adapter_metadata": json.dumps(metadata)}))
    [layer] = read_layers(save(state, {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 3})})).values()
    assert layer.alpha == 3
    with pytest.raises(ValueError, match="its metadata is damaged"):
        read_layers(save(state, {"lora_adapter_metadata": "{"}))
    with pytest.raises(ValueError, match=r"its metadata is damaged \(got \[\]"):
        read_layers(save(state, {"lora_adapter_metadata": "[]"}))
    for alpha in ("null", "NaN", '"8"'):
        with pytest.raises(ValueError, match="unet.lora_alpha=.*expected a number"):
            read_layers(save(state, {"lora_adapter_metadata": f'{{"unet.lora_alpha": {alpha}}}'}))
    with pytest.raises(ValueError, match="weights of torch.int8"):
        read_layers(save({name: value.to(torch.int8) for name, value in state.items()}))


WHOLE = save({"unet.x.lora_A.weight": torch.ones(1, 2), "unet.x.lora_B.weight": torch.ones(2, 1)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty; download"),
        (WHOLE[:-3], "damaged or cut off, [0-9]+ bytes that are no whole safetensors file"),
        (WHOLE[:20], "damaged or cut off, 20 bytes"),
        (b"\xff" * 300, "damaged or cut off"),
        (b"<!DOCTYPE html><html>Not Found</html>", "a web page, not the file"),
        (pickle.dumps({"x": 1}), r"a pickled file \(.bin, .pt, .ckpt\); expected an adapter in a .safetensors file"),
        (b"PK\x03\x04" + bytes(100), "a pickled file of torch"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (save({"x": torch.ones(1)}), "keys that no LoRA has: x;"),
        (save({}), "a safetensors file without adapters"),
    ],
)
def test_a_damaged_file_gets_one_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message) as refused:
        StableDiffusionLora.from_captions(SD.model_copy(update={"start_from": str(file)}), CAPTIONS)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value)


def test_a_generator_whose_adapter_is_damaged_says_where(saved: dict[Any, Path], tmp_path: Path) -> None:
    for cls, directory in saved.items():
        copy = Path(shutil.copytree(directory, tmp_path / cls.__name__))
        file = copy / adapters.LORA_FILE
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ValueError, match=f"{file}: damaged or cut off"):
            cls.load(copy)
