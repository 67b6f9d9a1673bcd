from pathlib import Path

import pytest
import torch

from dermray.generators.base import FAMILIES, Request, family
from dermray.generators.pixel_dermdit import PixelDermDiT, PixelDermDiTConfig
from dermray.generators.text import Words

CAPTIONS = ["malignant, skin tone B: asymmetric lesion, irregular border, black.", "benign, skin tone A: red."]
CONFIG = PixelDermDiTConfig(image_size=16, stem_width=8, width=32, blocks=1)


@pytest.fixture
def model() -> PixelDermDiT:
    torch.manual_seed(0)
    built = PixelDermDiT.from_captions(CONFIG, CAPTIONS)
    with torch.no_grad():  # a fresh model predicts zero: give every gate something to let through
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built.eval()


def test_families_load_by_name() -> None:
    assert all(family(name) for name in FAMILIES)
    with pytest.raises(ValueError, match="family='gan': expected one of"):
        family("gan")


def test_every_parameter_learns(model: PixelDermDiT) -> None:
    """As published, 50.3 M weights of the cross-attention get exactly zero gradient; here none does."""
    model.train()
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    for _ in range(4):  # some captions are dropped, some are not
        model(model.collate(model.encode(images, CAPTIONS * 4))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_padding_changes_nothing(model: PixelDermDiT) -> None:
    z, t = torch.randn(1, 3, 16, 16), torch.tensor([0.4])
    tokens, mask = model.words.encode(CAPTIONS[1:])
    kept = torch.zeros(1, dtype=torch.bool)
    short = model._read(tokens[:, :8], mask[:, :8], kept)
    unmasked_tail = tokens.clone()
    unmasked_tail[:, 20:] = 3  # rubbish behind the mask
    both_tokens, both_mask = (
        torch.cat([unmasked_tail, model.words.encode(CAPTIONS[:1])[0]]),
        torch.cat([mask, model.words.encode(CAPTIONS[:1])[1]]),
    )
    longer = model._read(both_tokens, both_mask, torch.zeros(2, dtype=torch.bool))
    alone = model.velocity(z, t, *short)
    beside = model.velocity(z.expand(2, -1, -1, -1), t.expand(2), *longer)[:1]
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-5)


def test_the_caption_matters_and_a_dropped_one_does_not(model: PixelDermDiT) -> None:
    z, t = torch.randn(2, 3, 16, 16)[:1].expand(2, -1, -1, -1), torch.tensor([0.4, 0.4])
    tokens, mask = model.words.encode(CAPTIONS)
    kept = model.velocity(z, t, *model._read(tokens, mask, torch.tensor([False, False])))
    dropped = model.velocity(z, t, *model._read(tokens, mask, torch.tensor([True, True])))
    assert (kept[0] - kept[1]).abs().max() > 1e-3
    torch.testing.assert_close(dropped[0], dropped[1])


def test_a_seed_and_a_prompt_make_the_picture_whatever_is_beside_it(model: PixelDermDiT) -> None:
    alone = model.sample([Request(CAPTIONS[0], 7)], 2.0, 4)
    beside = model.sample([Request(CAPTIONS[1], 1), Request(CAPTIONS[0], 7)], 2.0, 4)
    assert alone.dtype == torch.uint8 and alone.shape == (1, 3, 16, 16)
    assert (alone[0].int() - beside[1].int()).abs().max() <= 1
    assert not torch.equal(alone, model.sample([Request(CAPTIONS[0], 8)], 2.0, 4))


def test_save_and_load(model: PixelDermDiT, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = PixelDermDiT.load(tmp_path).eval()
    request = [Request(CAPTIONS[0], 3)]
    assert torch.equal(again.sample(request, 2.0, 3), model.sample(request, 2.0, 3))


def test_checkpoints_of_another_family_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"family": "glide"}')
    with pytest.raises(ValueError, match="expected a pixel_dermdit checkpoint, found glide"):
        PixelDermDiT.load(tmp_path)
    with pytest.raises(ValueError, match="found none"):
        PixelDermDiT.load(tmp_path / "nowhere")


def test_words() -> None:
    words = Words.from_captions(CAPTIONS, length=4, size=100)
    tokens, mask = words.encode(["Skin tone B!", "zebra", ""])
    assert tokens.shape == (3, 4) and mask.sum(1).tolist() == [3, 1, 1]
    assert tokens[1, 0] == 1, "unknown words share one id"
    assert Words.from_captions(CAPTIONS[::-1], 4, 100).words == words.words
