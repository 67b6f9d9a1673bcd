import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray.datasets.renderer import COLOUR_RGB, Truth, draw_phantoms, draw_truth, render
from dermray.records import COLOURS, SKIN_TONES

TRUTHS = st.builds(
    Truth,
    asymmetry=st.booleans(),
    border_irregular=st.booleans(),
    colours=st.sets(st.sampled_from([c for c in COLOURS if c != "white"]), min_size=1, max_size=4).map(
        lambda chosen: tuple(c for c in COLOURS if c in chosen)
    ),
    skin_tone=st.sampled_from(SKIN_TONES),
    hair=st.booleans(),
    ruler=st.booleans(),
    vignette=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(truth=TRUTHS, seed=st.integers(0, 1 << 30), size=st.sampled_from([16, 32, 64, 100]))
def test_the_same_truth_seed_and_size_give_the_same_bytes(truth: Truth, seed: int, size: int) -> None:
    first, second = render(truth, seed, size), render(truth, seed, size)
    assert first.image.shape == (size, size, 3) and first.image.dtype == np.uint8
    assert np.array_equal(first.image, second.image)
    assert not np.array_equal(first.image, render(truth, seed + 1, size).image)


@settings(max_examples=40, deadline=None)
@given(truth=TRUTHS, seed=st.integers(0, 1 << 30))
def test_exactly_the_colours_of_the_truth_are_painted_each_on_a_fair_share(truth: Truth, seed: int) -> None:
    index = render(truth, seed, 64).colour_index
    lesion = index[index >= 0]
    assert {COLOURS[i] for i in np.unique(lesion)} == set(truth.colours)
    assert 0.08 < (index >= 0).mean() < 0.65
    shares = np.bincount(lesion, minlength=6)[[COLOURS.index(c) for c in truth.colours]] / len(lesion)
    assert shares.min() > 0.25 / len(truth.colours)


def test_pixels_show_the_colour_that_the_map_names() -> None:
    near = []
    for truth, rendering in draw_phantoms(11, 200, 64):
        if truth.hair or truth.vignette or truth.ruler or len(truth.colours) > 1:
            continue
        pixels = rendering.image[rendering.colour_index >= 0].astype(float).mean(0)
        distances = {name: np.abs(pixels - rgb).sum() for name, rgb in COLOUR_RGB.items()}
        near.append(min(distances, key=distances.__getitem__) == truth.colours[0])
    assert len(near) > 15 and np.mean(near) > 0.95


def test_symmetric_lesions_look_the_same_turned_by_half() -> None:
    def difference(truth: Truth, seed: int) -> float:
        mask = render(truth, seed, 64).colour_index
        rows, columns = np.nonzero(mask >= 0)
        shift = (31 - int(round(rows.mean())), 31 - int(round(columns.mean())))
        centred = np.roll(mask, shift, (0, 1))
        return float((centred != np.rot90(centred, 2)).mean())

    base = dict(
        border_irregular=False, colours=("red", "black"), skin_tone="A", hair=False, ruler=False, vignette=False
    )
    symmetric = np.mean([difference(Truth(asymmetry=False, **base), s) for s in range(40)])  # type: ignore[arg-type]  # mixed values
    asymmetric = np.mean([difference(Truth(asymmetry=True, **base), s) for s in range(40)])  # type: ignore[arg-type]  # mixed values
    assert symmetric < 0.5 * asymmetric


def test_attributes_are_drawn_independently() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_truth(rng) for _ in range(4000)]
    asymmetry = np.array([t.asymmetry for t in drawn], float)
    others = {
        "border": [t.border_irregular for t in drawn],
        "tone": [t.skin_tone == "A" for t in drawn],
        "count": [len(t.colours) for t in drawn],
        "black": ["black" in t.colours for t in drawn],
    }
    for name, values in others.items():
        assert abs(np.corrcoef(asymmetry, np.array(values, float))[0, 1]) < 0.05, name
    assert all(t.colours != ("white",) for t in drawn)


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size=8: expected at least 16"):
        next(draw_phantoms(0, 1, 8))
