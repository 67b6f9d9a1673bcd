"""Encoded ahead: the same as encoded in training, never mispaired, never twice."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

from dermray import manifest
from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode
from dermray.datasets.phantom import encode_png
from dermray.generators.base import Request, Sample
from dermray.generators.flux_lora import FluxLora
from dermray.records import read_columns
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.batches import EncodedImages, EncodedSamples, Source, buckets
from dermray.training.encode import INDEX, read_index, write_index
from dermray.training.precompute import Cost, Encoder, _cost_of_captions, _Encode, estimate, precompute
from dermray.training.run import TrainConfig, load_generator, run
from tests.conftest import call_cli
from tests.generators.stable_diffusion_folders import published
from tests.training.test_batches import rows_of, shards_of, write_shards

MODEL = {"image_size": 32}


def shards(directory: Path, blocks: list[list[int]]) -> Encoder:
    directory.mkdir()
    write_shards(directory, blocks, 32)
    return Encoder("dermdit", MODEL, [str(directory)])


def test_pictures_and_captions_stay_together(tmp_path: Path) -> None:
    """Whatever is asked for after encoding is what training would have encoded."""
    encoder, cache = shards(tmp_path / "shards", [[3, 0, 7, 1], [2, 6], [5, 4]]), str(tmp_path / "cache")
    [directory], [[files], _], actor = encoder.directories(), encoder.files(), _Encode(encoder, cache)
    for shard, file in zip(read_index(directory)["shards"], files, strict=True):
        actor({"directory": directory, "shard": shard, "file": file})
    [images], ahead = buckets(encoder.encoded[0]), EncodedSamples(cache, files, read_index(directory))
    generator = encoder.build()
    for seed in range(4):
        index = np.random.default_rng(seed).permutation(8)[:5]
        now = images.read(index).samples(generator, False)
        assert ahead.sample_ids(index) == images.sample_ids(index)
        for a, b in zip(ahead.read(index).samples(generator, False), now, strict=True):
            assert a.keys() == b.keys() == {"moments", "text"}
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_each_bucket_is_encoded_at_its_size_and_once(local_ray: None, two_sizes: str, tmp_path: Path) -> None:
    encoder, cache = Encoder("latent_diffusion", MODEL, [two_sizes]), str(tmp_path)
    made = precompute(encoder, cache, 2.0, (2, 2), {"num_cpus": 1})
    generator = encoder.build()
    for images, samples, side in zip(buckets(two_sizes), Source(two_sizes, cache, made[0]).open(), (4, 8), strict=True):
        ahead = samples.read(np.arange(8)).samples(generator, False)
        assert {tuple(sample["moments"].shape) for sample in ahead} == {(8, side, side)}
        now = images.read(np.arange(8)).samples(generator, False)
        torch.testing.assert_close(ahead, now, rtol=1e-4, atol=1e-5)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix == ".arrow"}
    assert len(times) == 3, "a shard of each size, and the texts"
    assert precompute(encoder, cache, 2.0, (2, 2), {"num_cpus": 1}) == made
    again = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix == ".arrow"}
    assert again == times, "what is there is not made again"


def test_names_follow_content(tmp_path: Path) -> None:
    names = names_of(shards(tmp_path / "a", [[0, 1], [2, 3]]))
    assert len(names) == 3, "two shards and the texts"
    assert names_of(shards(tmp_path / "b", [[0, 1], [2, 3]])) == names, "wherever they lie"
    assert names_of(shards(tmp_path / "c", [[0, 1], [2, 4]])).isdisjoint(names), "other words, another tokenizer"
    a = [str(tmp_path / "a")]
    assert names_of(Encoder("dermdit", MODEL | {"compat": "paper"}, a)).isdisjoint(names)
    assert names_of(Encoder("dermdit", MODEL | {"blocks": 7}, a)) == names, "what is trained does not matter"
    assert len(names_of(Encoder("dermdit", MODEL, a, ["benign"])) & names) == 2, "other texts, the same shards"


def captioned_shards(directory: Path, captions: list[list[str]]) -> str:
    """Blocks of one-colour images with these captions."""
    rows, number = dict[str, int](), 0
    for block in captions:
        numbers = list(range(number, number := number + len(block)))
        images = [encode_png(np.full((32, 32, 3), i, np.uint8)) for i in numbers]
        table = rows_of(numbers, images)
        table = table.set_column(table.column_names.index("caption"), "caption", pa.array(block))
        rows |= {shard["file"]: shard["rows"] for shard in shards_of(table, directory, [32])}
    write_index(str(directory / "32"), 32, rows)
    (directory / INDEX).write_text(json.dumps({32: number}))
    return str(directory)


def test_equal_captions_are_encoded_and_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a shard, between shards, and in a second training; and each image gets its own words back."""
    captions = [["red", "blue", "red"], ["blue", "red"], ["green", "blue"]]
    encoded, cache = captioned_shards(tmp_path / "shards", captions), str(tmp_path / "cache")
    model: dict[str, Any] = {"image_size": 32, "rank": 4, "max_sequence_length": 16}
    asked, encode_texts = list[str](), FluxLora.encode_texts

    def noted(self: FluxLora, texts: list[str]) -> list[Sample]:
        asked.extend(texts)
        return encode_texts(self, texts)

    monkeypatch.setattr(FluxLora, "encode_texts", noted)
    encoder = Encoder("flux_lora", model, [encoded])
    [directory], [[files], _] = encoder.directories(), encoder.files()
    for actor in (_Encode(encoder, cache), _Encode(encoder, cache)):
        assert isinstance(actor.generator, FluxLora)
        assert actor.generator.transformer is None, "12 billion parameters are not loaded to run VAE and T5"
        for shard, file in zip(read_index(directory)["shards"], files, strict=True):
            actor({"directory": directory, "shard": shard, "file": file})
    assert sorted(asked) == ["blue", "green", "red"]
    kept = list((tmp_path / "cache" / "captions").rglob("*.safetensors"))
    assert len(kept) == 3
    assert _cost_of_captions(encoder, actor.generator).number == 3
    model_in_training = FluxLora.from_captions(FluxLora.Config(**model), [c for block in captions for c in block])
    [images], ahead = buckets(encoded), EncodedSamples(cache, files, read_index(directory))
    index = np.array([6, 0, 3, 2])
    for a, b in zip(
        ahead.read(index).samples(model_in_training, False),
        images.read(index).samples(model_in_training, False),
        strict=True,
    ):
        assert a.keys() == b.keys() == {"moments", "pooled", "tokens"}
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_t5_costs_is_said_before() -> None:
    """Paper 002's images at 512 tokens of 4096 numbers in bf16, with captions of their own and with two labels."""
    tokens = 512 * 4096 * 2
    images = [Cost(400_901, 32 * 16**2 * 4, 0.0), Cost(22_140, 32 * 32**2 * 4, 0.0), Cost(85_303, 32 * 64**2 * 4, 0.0)]
    assert "508344 images and 508344 different captions to encode: about 2.19 TB" in estimate(
        images, Cost(508_344, tokens, 0.0), 5
    )
    assert "and 2 different captions to encode: about 60.8 GB to store" in estimate(images, Cost(2, tokens, 0.0), 5)
    assert "where 1 TB are free" in estimate(images, Cost(508_344, tokens, 0.0), 5, 1e12)


def test_a_prior_is_named_by_the_base_and_what_it_draws(tmp_path: Path) -> None:
    bases = [published(tmp_path / name, name) for name in ("1.4", "2.1")]
    shards(tmp_path / "a", [[0, 1]])

    def name(**changes: Any) -> str | None:
        model = {"base": bases[0], "image_size": 64, "prior_prompt": "skin", "prior_images": 2} | changes
        return Encoder("stable_diffusion_lora", model, [str(tmp_path / "a")]).prior()

    first = name()
    assert first and name(rank=7, prior_weight=0.5) == first, "what is trained, and how, does not matter"
    others = [name(base=bases[1]), name(prior_prompt="a photo of skin"), name(prior_images=3), name(prior_steps=5),
              name(image_size=128), name(dtype="fp16"), name(train_text_encoder=False)]  # fmt: skip
    assert len({first, *others}) == 8 and None not in others
    assert name(prior_prompt=None) is None
    (Path(bases[0]) / "scheduler" / "note.json").write_text("{}")
    assert name() != first, "other files in the base"


def names_of(encoder: Encoder) -> set[str]:
    [files], texts = encoder.files()
    return {*files, texts}


@pytest.mark.parametrize(("epochs", "cheaper"), [(5.0, "encoding once is cheaper"), (0.5, "encode_ahead=false")])
def test_the_estimate_says_what_is_cheaper(epochs: float, cheaper: str) -> None:
    images = [Cost(400_000, 4 * 2**20, 0.05), Cost(100_000, 4 * 2**20, 0.05)]
    text = estimate(images, Cost(0, 0, 0), epochs)
    assert cheaper in text and "2.1 TB" in text and "6.9 worker hours once" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "dermdit", "encode_ahead": True}, "give flips=false"),
        ({"loop": {"steps": 1, "keep_best": True}}, "needs a validation loss; give validation_images"),
        ({"family": "flux_lora", "model": {"base": "/b", "quantization": "nf4"}}, "quantization=nf4: needs a GPU"),
        ({"family": "flux_lora", "model": {"base": "/b", "quantization": "nf4"},
          "loop": {"steps": 1, "gpus_per_worker": 1, "parallel": "fsdp"}}, "nf4: FSDP cannot shard"),
        ({"family": "flux_lora", "model": {"quantization": "fp8"}}, "base nano is built in full precision"),
        ({"family": "dermdit", "buckets": [64, 128]}, "dermdit has one image size"),
        ({"family": "glide", "buckets": [64, 128]}, "glide has one image size"),
        ({"family": "dermdit", "model": {"width": 64, "heads": 3}}, "width=64: expected a multiple of heads=3"),
        ({"family": "flux_lora", "buckets": [64, 100]}, "expected multiples of 32 px, got \\[100\\]"),
        ({"family": "pixel_dermdit", "encode_ahead": True, "flips": False}, "no frozen encoder"),
        ({"family": "glide", "encode_ahead": True, "flips": False}, "no frozen encoder"),
        ({"family": "flux_lora", "model": {"base": "/nowhere/flux"}, "encode_ahead": True, "flips": False},
         "model.base=/nowhere/flux: no such directory"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_starts(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, FileNotFoundError), match=message):
        run(validate(TrainConfig, {"output": "o", "rows": "/none", "loop": {"steps": 1}} | settings))


@pytest.mark.slow
def test_flux_from_captioned_rows_to_a_picture(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "output": f"{tmp_path}/train", "rows": f"{small_run}/caption", "family": "flux_lora", "encode_ahead": True,
        "flips": False, "cache": f"{tmp_path}/cache", "validation_images": 8,
        "model": {"image_size": 32, "rank": 4, "max_sequence_length": 8},  # less than the captions have
        # of workers of five CPUs this Ray has room for one
        "loop": {"steps": 4, "batch_size": 8, "workers": [1, 2], "cpus_per_worker": 5, "log_every": 2,
                 "checkpoint_every": 2},
    }  # fmt: skip
    result = run(validate(TrainConfig, config))
    assert list((tmp_path / "cache").iterdir())
    model = Path(result.data) / "model"
    assert (model / "pytorch_lora_weights.safetensors").is_file() and (model / "base" / "model_index.json").is_file()
    assert load_generator(manifest.read(result.uri)).sample([Request("benign", 1)], 3.5, 2).shape == (1, 3, 32, 32)
    card = ModelCard.load(model / "README.md")
    assert card.data.license_name == "cc0-1.0" and card.data.library_name == "diffusers"
    assert "load_lora_weights" in card.text and '"rank": 4' in card.text and "Not for diagnosis" in card.text
    _holds_what_is_cut(result, small_run, card.text)
    _draws_several_sizes(result, f"{small_run}/caption", f"{tmp_path}/generate")
    code, said, _ = call_cli(capsys, "export", result.uri, f"{tmp_path}/kohya.safetensors")
    assert code == 0 and "MB" in said
    assert call_cli(capsys, "export", result.uri, f"{tmp_path}/kohya.safetensors")[0] == 1, "nothing is overwritten"
    [events] = (Path(result.data) / "tensorboard").iterdir()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(events)).Reload()
    curves = set(seen.Tags()["scalars"])
    assert {f"train/{n}" for n in ("loss", "gradient_norm", "samples_per_second", "learning_rate")} <= curves
    assert 1 <= sum(name.startswith("loss_by_noise/0.") for name in curves) <= 4
    assert result.manifest.metrics["training"]["workers"] == 1
    assert [e.step for e in seen.Scalars("train/loss")] == [e.step for e in seen.Scalars("validation/loss")] == [2, 4]
    held_out = EncodedImages(f"{result.data}/validation/32")
    assert len(held_out) == 8
    training = EncodedImages(f"{result.data}/encoded/32")
    assert set(ids(training)).isdisjoint(ids(held_out))
    pictures = seen.Tags()["images"]
    assert {"samples/benign, tone A", "samples/malignant, tone B"} <= set(pictures) and len(pictures) == 6


def _draws_several_sizes(result: manifest.Result, rows: str, output: str) -> None:
    """Each cell at each size; the gate and whoever reads the rows have one."""
    settings = {
        "output": output,
        "rows": rows,
        "generator": result.uri,
        "sampling_steps": 1,
        "gate": {"false_rate": 0, "training_steps": 10, "planted": 2},
    }
    with pytest.raises(ValueError, match=r"sizes=\[32, 40\]: expected multiples of 32 px, got \[40\]"):
        synthesis.run(validate(SynthesisConfig, settings | {"sizes": [32, 40]}))
    drawn = synthesis.run(validate(SynthesisConfig, settings | {"count": 24, "sizes": [64, 32]}))
    names = ["malignant", "skin_tone", "width", "height", "image", "nearest_distance"]
    found = read_columns(f"{drawn.data}/rows", names, pc.field("status").is_valid()).to_pylist()
    counts = Counter((row["malignant"], row["skin_tone"], row["width"]) for row in found)
    assert sum(counts.values()) == 24 and set(counts.values()) == {2} and {size for *_, size in counts} == {32, 64}
    for row in found:
        assert decode(row["image"]).size == (row["width"], row["height"]) and row["nearest_distance"] > 0


def ids(images: EncodedImages) -> list[str]:
    return images.sample_ids(np.arange(len(images)))


def _holds_what_is_cut(result: manifest.Result, small_run: Path, card: str) -> None:
    """Manifest and card say of the training captions what transformers' tokenizer says."""
    rows = f"{manifest.read(f'{small_run}/caption').data}/rows"
    used = (pc.field("split") == "train") & (pc.field("status") == "ok")
    captions = read_columns(rows, ["caption"], used)["caption"].to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(f"{result.data}/model/base", subfolder="tokenizer_2")
    over = [max(0, len(tokenizer(caption).input_ids) - 8) for caption in captions]
    text = result.manifest.metrics["text"]
    counted = {name: text["t5"][name] for name in ("limit", "texts", "cut", "cut_off", "unknown_words")}
    assert counted == {
        "limit": 8, "texts": len(captions), "cut": sum(n > 0 for n in over), "cut_off": sum(over), "unknown_words": 0,
    }  # fmt: skip
    assert text["clip"]["cut"] == 0 < text["t5"]["cut"]
    assert (
        f"{text['t5']['cut']} of {len(captions)} texts are longer than the 8 tokens that the text encoder (t5) reads"
        in card
    )
