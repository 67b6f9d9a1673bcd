"""What a plan asks for that its captions cannot give is said before anything is drawn."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, load, preset, validate
from dermray.synthesis.cells import cells_of
from dermray.synthesis.plan import captions_of, indexed
from dermray.synthesis.plan_settings import AsData, Balanced
from dermray.synthesis.settings import SynthesisConfig
from dermray.synthesis.survey import Settled, Survey, settle
from tests.synthesis.test_plan import CAPTIONS, Row, write

METADATA = ("malignant", "skin_tone")


def config_of(**given: Any) -> SynthesisConfig:
    return validate(SynthesisConfig, {"output": "o", "generator": "g", "rows": "r"} | given)


def settled(tmp_path: Path, rows: list[Row], metadata: tuple[str, ...] = METADATA, **given: Any) -> Settled:
    config = config_of(**given)
    spoken = metadata if config.prompts == "attributes" else None
    captions = indexed([captions_of(write(tmp_path, [rows]), 0, [], cells_of(config.plan), spoken)])
    return settle(config, Survey.of(captions), metadata)


def over(*names: str, mode: str = "balanced", **more: Any) -> Row:
    return {"mode": mode, "over": list(names)} | more


def test_an_attribute_that_no_caption_has(tmp_path: Path) -> None:
    expected = r"no training caption has a known site, out of 24; attributes with values: malignant \(24 rows\), entity"
    with pytest.raises(ValueError, match=expected):
        settled(tmp_path, CAPTIONS, plan=over("skin_tone", "site"))
    with pytest.raises(ValueError, match="no training caption has a known malignant"):
        settled(tmp_path, [row | {"malignant": None} for row in CAPTIONS])
    halves = [row | ({"sex": None} if i % 2 else {"skin_tone": None}) for i, row in enumerate(CAPTIONS)]
    with pytest.raises(ValueError, match="no training caption has known skin_tone and sex together; plan over fewer"):
        settled(tmp_path, halves, plan=over("skin_tone", "sex", must_be_known=["skin_tone", "sex"]))
    with pytest.raises(ValueError, match="no usable caption in the train split"):
        settled(tmp_path, [row | {"split": "test"} for row in CAPTIONS])


def test_more_images_than_captions_can_vary(tmp_path: Path) -> None:
    rows = [*CAPTIONS, CAPTIONS[0] | {"sample_id": "0" * 64, "skin_tone": "C"}]
    said = (
        r"1 of 7 cells have too few captions for images_per_caption=3: malignant, skin tone C: 4 images of 1 captions"
    )
    with pytest.raises(ValueError, match=said + r".*plan.over.*images_per_caption=4"):
        settled(tmp_path, rows, count=28, images_per_caption=3)
    assert len(settled(tmp_path, rows, count=28, images_per_caption=4).deal) == 28
    cells = [{"where": {"skin_tone": ["C"]}, "count": 101}]
    with pytest.raises(ValueError, match="skin tone C: 101 images of 1 captions"):
        settled(tmp_path, rows, plan={"mode": "exact", "cells": cells})


def test_a_cell_that_is_not_there(tmp_path: Path) -> None:
    cells = [{"where": {"skin_tone": ["A"]}, "count": 1}, {"where": {"skin_tone": ["C"], "sex": ["male"]}, "count": 1}]
    expected = (
        r"plan.cells.1: no training caption has \{'skin_tone': \['C'\].*there are skin_tone: A \(12\), B \(6\); sex"
    )
    with pytest.raises(ValueError, match=expected):
        settled(tmp_path, CAPTIONS, plan={"mode": "exact", "cells": cells})


def test_nothing_to_fill_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every cell has at least 8 real rows; nothing to draw: raise plan.to"):
        settled(tmp_path, CAPTIONS, plan=over("malignant", mode="fill_up", to=8))
    found = settled(tmp_path, CAPTIONS, plan=over("malignant", mode="fill_up", to=10))
    assert [(cell.name, cell.real, cell.asked) for cell in found.cells] == [("benign", 16, 0), ("malignant", 8, 2)]


@pytest.mark.parametrize("most", [1 << 31, 10**18, 10**30])
def test_more_images_than_can_be_counted(tmp_path: Path, most: int) -> None:
    cells = [{"where": {"skin_tone": ["A"]}, "count": most}]
    plans = (
        {"count": most},
        {"count": most, "plan": over("skin_tone", mode="as_data")},
        {"plan": over("skin_tone", mode="fill_up", to=most)},
        {"plan": {"mode": "exact", "cells": cells}},
    )
    for given in plans:
        with pytest.raises(ValueError, match="images; expected fewer than 2147483648: make several results"):
            settled(tmp_path, CAPTIONS, images_per_caption=10**40, **given)


def test_a_plan_over_estimated_tones_is_warned_of(tmp_path: Path) -> None:
    rows = [row | ({"skin_tone_source": "estimated"} if row["skin_tone"] == "B" else {}) for row in CAPTIONS]
    [told] = settled(tmp_path, rows).warnings
    assert "skin_tone, which was estimated from images for 6 of 24 training rows" in told
    assert settled(tmp_path, rows, ("malignant",), plan=over("malignant")).warnings == []
    where = [{"where": {"skin_tone": ["B"]}, "count": 3}]
    assert settled(tmp_path, rows, plan={"mode": "exact", "cells": where}).warnings == [told]


def test_rows_without_a_cell_and_attributes_that_captions_do_not_say_are_told(tmp_path: Path) -> None:
    rows = [row | {"malignant": None if i < 4 else row["malignant"]} for i, row in enumerate(CAPTIONS)]
    assert settled(tmp_path, rows).warnings == ["4 of 24 training rows have no known malignant: they are no prompts"]
    told = settled(tmp_path, rows, plan=over("sex", "age_band")).warnings
    assert len(told) == 1 and "the plan is over age_band, sex, which the generator's captions do not say" in told[0]
    assert settled(tmp_path, rows, ("sex", "age"), plan=over("sex", "age_band")).warnings == []


def test_a_generator_that_learned_from_other_captions_is_told(tmp_path: Path) -> None:
    expected = r"learned from other captions: none of 24 begins with its row's metadata \(metadata=\['malignant', 'skin"
    with pytest.raises(ValueError, match=expected):
        settled(tmp_path, CAPTIONS, prompts="attributes")
    with pytest.raises(ValueError, match=r"metadata=\[\] of the caption stage"):
        settled(tmp_path, CAPTIONS, (), prompts="attributes")
    words = {True: "malignant", False: "benign"}
    said = [row | {"caption": f"{words[row['malignant']]}: {row['caption']}"} for row in CAPTIONS]
    assert settled(tmp_path, said, ("malignant",), prompts="attributes", plan=over("malignant")).warnings == []
    told = settled(tmp_path, [*said[:-1], CAPTIONS[-1]], ("malignant",), prompts="attributes", plan=over("malignant"))
    assert "1 of 24 captions that the generator learned from do not begin with their row's metadata" in told.warnings[0]


MEL_NV_C: Row = {"entity": ["mel", "nv"], "skin_tone": ["C"]}


def exact(*wheres: Row) -> Row:
    return {"mode": "exact", "cells": [{"where": where, "count": 3} for where in wheres]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"plan": over()}, r"plan.over=\[\]: expected at least one attribute, out of malignant, entity"),
        ({"plan": over("sex", "age_band", "sex")}, "sex: named twice"),
        ({"plan": over("label")}, "plan.over.0='label': Input should be 'malignant', 'entity'"),
        ({"plan": over("sex", must_be_known=["site"])}, r"plan.must_be_known=\['site'\]: expected some of over="),
        ({"plan": exact()}, "plan.cells"),
        ({"plan": exact({})}, "plan.cells.0.where"),
        ({"plan": exact({"tone": ["C"]})}, "no such columns: .'tone'"),
        ({"plan": exact({"age_band": ["30-40"]})}, "'30-40': expected one of 0-29"),
        ({"plan": exact({"malignant": ["true"]})}, "a list of true and false"),
        ({"plan": exact({"sex": ["male"]}, MEL_NV_C, {"skin_tone": ["C"], "entity": ["nv", "mel"]})}, "1 and 2 are"),
        ({"plan": exact(MEL_NV_C), "count": 5}, "count=5: plan.mode=exact says itself how many"),
        ({"plan": over("sex", mode="fill_up", to=5), "count": 5}, "count=5: plan.mode=fill_up says itself how many"),
        ({"plan": {"mode": "even"}}, "plan.mode: 'even'; expected one of as_data, balanced, exact, fill_up"),
        ({"plan": {"over": ["sex"]}}, "plan.mode: missing; expected one of as_data"),
        ({"plan": over("sex", mode="as_data", to=5)}, "plan.to=5: unknown key"),
    ],
)  # fmt: skip
def test_configs_that_mean_nothing(given: Row, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config_of(**given)


def test_how_many_images_a_config_says() -> None:
    assert config_of().images == 600 and config_of(count=7).images == 7
    assert config_of(plan=exact(MEL_NV_C, {"sex": ["male"]})).images == 6
    assert config_of(plan=over("sex", mode="fill_up", to=5)).images is None


@pytest.mark.parametrize(
    ("name", "images", "mode", "attributes"),
    [
        ("glide_paper", 10_015, "as_data", ("entity",)),
        ("dermdit_paper", 50_000, "balanced", ("malignant", "skin_tone", "sex", "age_band", "site")),
        ("flux_lora_paper", 6_000, "balanced", ("malignant",)),
        ("nano", 500, "balanced", ("malignant", "skin_tone")),
    ],
)
def test_the_papers_plans(name: str, images: int, mode: str, attributes: tuple[str, ...]) -> None:
    plan = (config := load(SynthesisConfig, preset(f"generate/{name}"))).plan
    assert (config.images, plan.mode) == (images, mode)
    assert isinstance(plan, AsData | Balanced) and plan.over == attributes
