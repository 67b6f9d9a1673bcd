"""Drawing in steps: in any company, at any guidance and number of steps, left and taken up again."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dermray.generators.base import FAMILIES, Generator, Request, evaluating, family
from dermray.generators.canvas import in_rows
from dermray.generators.flow_family import FlowFamily
from tests.generators.conftest import CAPTIONS, FLOW_LORA, shaken

SETTINGS: dict[str, dict[str, Any]] = {
    "pixel_dermdit": {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1, "caption_length": 12},
    "dermdit": {"image_size": 32, "width": 32},
    "glide": {"image_size": 32, "upsampler_steps": (2, 2)},
    "stable_diffusion": {"image_size": 32},
    "stable_diffusion_lora": {"image_size": 32, "rank": 2},
    "latent_diffusion": {"image_size": 32},
}
# image, guidance, steps: two of them want the same image
WANTED = [
    (Request(CAPTIONS[0], 7), 2.0, 4),
    (Request(CAPTIONS[1], 8), 1.0, 2),
    (Request("red.", 9), 3.5, 3),
    (Request(CAPTIONS[0], 7), 2.0, 4),
    (Request(CAPTIONS[1], 10), 4.0, 5),
]
Wanted = tuple[Request, float, int]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> Generator:
    cls, settings = family(request.param), SETTINGS.get(request.param, FLOW_LORA)
    torch.manual_seed(0)
    return shaken(cls.from_captions(cls.Config(**settings), CAPTIONS), 0.05).eval()


def alone(model: Generator, wanted: Wanted) -> Tensor:
    return model.sample([wanted[0]], *wanted[1:])[0]


def together(model: Generator, wanted: list[Wanted], late: int = 0) -> list[Tensor]:
    """All at once, but the last `late` ones, which come two steps later."""
    with evaluating(model):
        canvases = [model.begin(*each) for each in wanted[: len(wanted) - late]]
        for number in range(1000):
            if number == 2:
                canvases += [model.begin(*each) for each in wanted[len(wanted) - late :]]
            going = [canvas for canvas in canvases if not canvas.done]
            if not going:
                break
            model.advance([canvas for canvas in going if canvas.kind == going[0].kind])
        return [model.finish([canvas])[0] for canvas in canvases]


def test_bits_are_the_same_in_any_company(model: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "rows", 4)
    expected = [alone(model, wanted) for wanted in WANTED]
    assert not torch.equal(expected[0], expected[2]), "something is drawn"
    assert torch.equal(expected[0], expected[3])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4], [1, 3]):
        for late in (0, 1):
            drawn = together(model, [WANTED[i] for i in order], late)
            for i, image in zip(order, drawn, strict=True):
                assert torch.equal(image, expected[i]), (order, late, i)


def test_one_forward_of_all_is_the_same_but_for_rounding(model: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "rows", 4)
    exact = [alone(model, wanted) for wanted in WANTED]
    monkeypatch.setattr(model, "rows", None)
    for ours, theirs in zip(together(model, WANTED), exact, strict=True):
        assert (ours.int() - theirs.int()).abs().max() <= 1, "levels of 256"


def test_an_image_that_is_given_up_leaves_the_others_as_they_are(model: Generator) -> None:
    model.rows = 4
    try:
        expected = alone(model, WANTED[0])
        with evaluating(model):
            kept, left = model.begin(*WANTED[0]), model.begin(*WANTED[4])
            model.advance([left, kept])
            while not kept.done:
                model.advance([kept])
            assert not left.done and torch.equal(model.finish([kept])[0], expected)
    finally:
        model.rows = None


def test_guidance_leads_on_from_each_images_own_scale(model: Generator) -> None:
    """By hand for the linear sum; a family whose guidance is an input of the network has no second row."""
    with evaluating(model):
        canvases = [model.begin(Request(CAPTIONS[0], 3), scale, 1) for scale in (1.0, 2.0, 3.0)]
        if canvases[1].scale == 1:
            pytest.skip("distilled: guidance is an input")
        model.advance(canvases)
        plain, double, triple = (canvas.kept.get("low", canvas.z) for canvas in canvases)
    assert not torch.allclose(plain, double)
    summed = getattr(type(model), "mixed", FlowFamily.mixed) is FlowFamily.mixed
    if summed and canvases[0].phase == "":  # an Euler or scheduler step is linear, unless it is clipped
        torch.testing.assert_close(triple - double, double - plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, None])
def test_forwards_are_filled_up(rows: int | None) -> None:
    seen: list[int] = []

    def network(a: Tensor, b: Tensor) -> Tensor:
        seen.append(len(a))
        return a + b

    given = torch.arange(4.0)[:, None]
    assert torch.equal(in_rows(network, rows, given, 10 * given), 11 * given)
    assert seen == {1: [1] * 4, 3: [3, 3], 4: [4], 5: [5], None: [4]}[rows]
