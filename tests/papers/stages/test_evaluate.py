from typing import Any

from dermray.manifest import Result
from dermray.papers.measured import Measured
from dermray.papers.stages.evaluate import measured
from tests.evaluation.test_table import pair, source
from tests.papers.results import finished, lineage, one, run


def told(**changes: Any) -> dict[str, Any]:
    """Two sources, as the stage tells them."""
    rules = {"prompt": {"groups": [pair(None, None, 0.3), pair("entity", "nv", 0.2)], "without_partner": 0},
             "random": {"not_computed": "nobody has a partner", "without_partner": 30}}  # fmt: skip
    each = source(**rules) | {"sample": 25}
    return {
        "sources": {"ldm": each, "dit": each}, "extractors": [{"name": "inception", "hash": "h", "width": 8}],
        "real_diversity": {"ms_ssim": 0.4}, "image_size": 64,
    } | changes  # fmt: skip


def evaluated(**changes: Any) -> Result:
    config = {"extractors": [{"kind": "inception"}], "real": "train"}
    inputs = {"rows": "c", "synthetic": "other", "synthetic dit": "g"}
    return finished("evaluate", "e", inputs, config=config, **told(**changes))


def read(**changes: Any) -> list[Measured]:
    result = evaluated(**changes)
    return list(measured("evaluate", result, run(**lineage(), evaluate=result)))


def test_distances_have_interval_floor_and_both_numbers_of_images() -> None:
    found = read()
    at = {"source": "dit", "group": "all", "extractor_place": "1"}
    distance = one(found, **at, metric="frechet_distance")
    assert (distance.value, distance.low, distance.high, distance.floor) == (3.0, 2.0, 4.0, 1.0)
    assert (distance.setting.images, distance.setting.of_real) == (40, 40)
    of_all = one(found, **at, metric="frechet_all")
    assert (of_all.value, of_all.floor, of_all.doubts) == (2.5, None, ())
    assert of_all.setting.model_dump(exclude_none=True) == {
        "images": 50, "of_real": 100, "data": ("ham10000",), "real": "train", "extractor": "inception",
        "image_size": 64, "generator": "glide",
    }  # fmt: skip
    assert one(found, **at | {"source": "ldm"}, metric="frechet_all").setting.generator is None, "not of this run"
    assert one(found, source="dit", attribute="entity", group="nv", metric="frechet_all").value == 5.0


def test_what_was_not_computed_says_why() -> None:
    found = read()
    few = one(found, source="dit", group="mel", metric="frechet_distance")
    assert few.value is None and few.doubts == ("not computed: too few",)
    assert one(found, source="dit", rule="random", metric="ssim").doubts == ("not computed: nobody has a partner",)


def test_pixels_and_diversity() -> None:
    found = read()
    ssim = one(found, source="dit", rule="prompt", group="nv", metric="ssim")
    assert ssim.value == 0.2 and ssim.setting.pairing == "prompt" and ssim.setting.real is None
    diversity = one(found, source="ldm", metric="ms_ssim")
    assert (diversity.value, diversity.floor, diversity.setting.images) == (0.5, 0.4, 25)
    small = read(real_diversity={"ms_ssim": 0.4, "scales": 3, "kernel": 5})
    [doubt] = one(small, metric="ms_ssim_of_real").doubts
    assert "3 scales and a window of 5 px, not 5 and 11" in doubt
    assert one(found, metric="ms_ssim_of_real").value == 0.4
    assert not [each for each in read(real_diversity={"not_computed": "few"})
                if each.where["metric"] == "ms_ssim_of_real"]  # fmt: skip
