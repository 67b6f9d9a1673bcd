from pathlib import Path

import pytest
import torch
from PIL import Image

from dermray.captioning.reading import parse
from dermray.datasets.renderer import draw_phantoms
from dermray.vlm.lessons import Pupil, attributes_of, draw_lessons, shape_moments
from dermray.vlm.nano import NanoConfig, build_model, build_processor, greedy, load, save, vllm_name


def test_size_and_head() -> None:
    processor = build_processor(NanoConfig())
    model = build_model(NanoConfig(), processor.tokenizer)
    assert 400_000 < sum(p.numel() for p in model.parameters()) < 1_000_000
    assert model.config.text_config.head_dim == 32, "vLLM loads 24 and fails at the first request"


def test_answers_are_tokenised_without_loss() -> None:
    lessons = draw_lessons(NanoConfig(), build_processor(NanoConfig()), 3, 20)
    tokenizer = build_processor(NanoConfig()).tokenizer
    for (truth, _), labels in zip(draw_phantoms(3, 20, 64), lessons.labels, strict=True):
        said = tokenizer.decode(labels[labels != -100], skip_special_tokens=True)
        assert parse(said).attributes == attributes_of(truth)
        assert labels[labels != -100][-1] == tokenizer.eos_token_id


def test_turning_moves_pixels_and_patches_alike() -> None:
    lessons = draw_lessons(NanoConfig(), build_processor(NanoConfig()), 3, 4)
    turned = lessons.batch(torch.arange(4), turns=1, flip=True)
    assert torch.equal(turned.pixels, torch.rot90(lessons.pixels, 1, (2, 3)).flip(3))
    assert torch.equal(turned.patch_colours, torch.rot90(lessons.patch_colours, 1, (1, 2)).flip(2))


def test_symmetric_lesions_have_small_moments() -> None:
    drawn = list(draw_phantoms(9, 200, 64))
    lessons = draw_lessons(NanoConfig(), build_processor(NanoConfig()), 9, 200)
    size = shape_moments(lessons.patch_colours.float()).abs().mean(1)
    asymmetric = torch.tensor([t.asymmetry for t, _ in drawn])
    assert size[asymmetric].mean() > 2 * size[~asymmetric].mean()


def test_training_forward_equals_the_models_own(tmp_path: Path) -> None:
    """The loss computed by hand from the parts is the loss that transformers computes from ids and pixels."""
    torch.manual_seed(0)
    processor = build_processor(NanoConfig())
    pupil = Pupil(build_model(NanoConfig(), processor.tokenizer)).eval()
    lessons = draw_lessons(NanoConfig(), processor, 3, 4)
    pixels = lessons.pixels.float() / 127.5 - 1
    with torch.no_grad():
        states = pupil.model.model.vision_tower(pixels).last_hidden_state
        ours = pupil._speaking_loss(states[:, 1:], lessons)
        theirs = pupil.model(input_ids=lessons.tokens, pixel_values=pixels, labels=lessons.labels).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_export_round_trip_and_names_for_vllm(tmp_path: Path) -> None:
    processor = build_processor(NanoConfig())
    model = build_model(NanoConfig(), processor.tokenizer).eval()
    save(model, processor, tmp_path)
    images = [Image.fromarray(r.image) for _, r in draw_phantoms(1, 2, 64)]
    again, its_processor = load(tmp_path)
    assert greedy(again, its_processor, images) == greedy(model, processor, images)
    assert vllm_name("model.vision_tower.encoder.x") == "model.vision_tower.vision_model.encoder.x"
    assert vllm_name("lm_head.weight") == "lm_head.weight"
    assert vllm_name("vision_tower.vision_model.x") == "vision_tower.vision_model.x"


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="expected a LLaVA"):
        load(tmp_path)
