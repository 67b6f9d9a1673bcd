"""A run at paper scale, planned: what flows from stage to stage, what it costs, whose licences bind what."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.papers_on_paper import flux_step
from dermray.config import preset, read_file, validate
from dermray.datasets.licences import ANY_USE
from dermray.pipeline import Instance, PipelineConfig, command
from dermray.pipeline import load as graph_of
from dermray.planning.figure import Figure
from dermray.planning.head import head
from dermray.planning.licences import of_weights
from dermray.planning.plan import ESTIMATORS, ON_CPUS, Plan, make
from dermray.planning.rates import card, rates
from tests.publishing.made import captioned, made

LLAVA, FLUX = "llava-hf/llava-1.5-7b-hf", "black-forest-labs/FLUX.1-dev"
pytestmark = pytest.mark.usefixtures("nothing_starts")


def of_preset(name: str, **changes: Any) -> dict[str, Any]:
    section = read_file(preset(name))
    del section["output"]
    return section | changes


def paper_run() -> dict[str, Any]:
    """DermaFlux's stages on HAM10000."""
    rows, images = {"rows": {"from": "caption"}}, {"synthetic": {"from": "generate"}}
    return {
        "ingest": of_preset("ingest/ham10000"),
        "caption": of_preset("caption/llava", rows={"from": "ingest"}),
        "train": of_preset("train/flux_lora_paper", buckets=[512]) | rows,
        "generate": of_preset("generate/flux_lora_paper", generator={"from": "train"}) | rows,
        "evaluate": of_preset("evaluate/glide_ham10000") | rows | images,
        "sweep": of_preset("sweep/dermaflux_sources") | rows | images,
    }


def planned(stages: dict[str, Any], gpu: str = "H100", **asked: Any) -> Plan:
    return make(graph_of(validate(PipelineConfig, {"output": "/none/run", "stages": stages})), gpu, **asked)


def alone(name: str, gpu: str = "H100", rows: int | None = None, **changes: Any) -> Plan:
    """Of a stage without the rest of its run."""
    stage = name.partition("/")[0]
    config = validate(command(stage)[0], read_file(preset(name)) | changes)
    return make({stage: Instance(stage, stage, config, {}, {})}, gpu, rows=rows)


def amount(plan: Plan, stage: str, name: str) -> Figure:
    (found,) = [one for one in plan.stages if one.name == stage]
    return found.estimate.amounts[name]


def test_rows_flow_through_a_run() -> None:
    plan = planned(paper_run())
    rows = amount(plan, "ingest", "rows")
    assert (rows.value, rows.basis, rows.bound) == (10_015 + 1_511, "published", "at most")
    assert amount(plan, "caption", "rows") == rows
    images = amount(plan, "train", "images of the train split")
    assert images.value == pytest.approx(0.7 * 10_015) and images.bound == "at most", "the test set has its own table"
    steps = amount(plan, "train", "steps")
    assert (steps.value, steps.bound) == (math.ceil(5 * 0.7 * 10_015 / 16), "at most")
    assert amount(plan, "evaluate", "real images").value == images.value
    assert amount(plan, "evaluate", "synthetic images").value == 6_000
    assert amount(plan, "sweep", "trainings").value == 2 * 5 * 5  # backbones, seeds, arms


def test_hours_of_flux_are_those_of_its_equations_and_the_price_is_theirs() -> None:
    plan = planned(paper_run(), rate=2.5)
    (train,) = [stage for stage in plan.stages if stage.name == "train"]
    seen, taken, price = 2_191 * 16, train.estimate.hours.value, train.price
    assert taken and price and price.value == pytest.approx(2.5 * taken) and price.bound == "at most"
    encoding = 0.7 * 10_015 * 5.98e12  # once an image: the text encoders and the autoencoder
    expected = (3 * flux_step(512) * seen + encoding) / (0.35 * card("H100").bf16 * 3600)
    assert taken == pytest.approx(expected, rel=0.05)
    hours = [stage.estimate.hours.value for stage in plan.stages]
    assert plan.hours.value == pytest.approx(sum(hour for hour in hours if hour is not None))
    assert plan.price and plan.hours.value and plan.price.value == pytest.approx(2.5 * plan.hours.value)


def test_licences_bind_what_is_made_with_them() -> None:
    binding = {licence.of: (licence.use, stages) for licence, stages in planned(paper_run()).binding().items()}
    every = ["ingest", "caption", "train", "generate", "evaluate", "sweep"]
    assert binding["ham10000"] == ("non-commercial", every)
    assert binding[LLAVA][1] == every[1:]
    assert binding[FLUX] == ("non-commercial", every[2:])
    assert binding["timm resnext50_32x4d.tv_in1k"] == (ANY_USE, ["sweep"])


def test_what_is_missing_is_named_and_what_the_run_makes_is_not() -> None:
    lacks = {(lack.stage, lack.field): lack for lack in planned(paper_run()).missing}
    data = lacks["ingest", "sources.0.path"]
    assert data.state == "ham10000: not there" and "doi.org/10.7910/DVN/DBW86T" in data.advice
    assert "hub id" in lacks["caption", "captioner"].state and lacks["train", "model.base"].place == FLUX
    weights = lacks["evaluate", "extractors.0.weights"]
    assert weights.state == "not there" and weights.place.startswith("weights/")
    assert not [field for _, field in lacks if field.endswith(("rows", "generator", "synthetic"))]


def test_the_documentations_figures_of_a_fleet() -> None:
    """docs/scaling.md: 20.3 captions/s of an H200 by a model of 8.3 billion weights, and 324 MiB for 1,000,000 rows."""
    plan = alone("caption/llava", "H200", rows=1_000_000)
    (hours,) = [stage.estimate.hours for stage in plan.stages]
    assert hours.value == pytest.approx(1e6 / 20.2916 / 3600 * 7.06e9 / rates().answers.parameters, rel=1e-4)
    assert hours.basis == "assumed", "of the rows, the lengths and the weights"
    assert amount(plan, "caption", "memory of the driver (MiB)").value == pytest.approx(324, abs=0.5)
    assert amount(plan, "caption", "tokens written, longest").value == 256e6
    assert head(1_000_000).blocks == 3_907


def test_the_documentations_figures_of_papers() -> None:
    """docs/scaling.md and its sources: two trainings of DermDiT take 4.3 H100 hours, and the sweep of sources 2.9 and
    7.4 on an RTX 3090."""
    dermdit = read_file(preset("train/dermdit_paper"))
    one = alone("train/dermdit_paper", model=dermdit["model"] | {"compat": "paper"})
    assert one.hours.value is not None and 2 * one.hours.value == pytest.approx(4.3, abs=0.05)
    swept = alone("sweep/dermaflux_sources", "RTX 3090")
    assert swept.hours.value == pytest.approx(2.9 + 7.4, abs=0.1) and swept.hours.basis == "published"


def test_rows_that_lie_there_are_counted(tmp_path: Path) -> None:
    """And what somebody assumes does not count against them."""
    place = str(tmp_path / "captions")
    made(place, [captioned(number) for number in range(8)], "caption")
    config = read_file(preset("train/flux_lora_paper")) | {"rows": place, "small_images": "enlarge"}
    instance = Instance("train", "train", validate(command("train")[0], config), {}, {})
    plan = make({"train": instance}, "H100", rows=1_000_000)
    images = amount(plan, "train", "images of the train split")
    assert (images.value, images.basis, images.bound) == (4, "measured", "")
    assert amount(plan, "train", "steps").value == math.ceil(5 * 4 / 16)
    assert not [lack for lack in plan.missing if lack.field == "rows"]


def test_what_nobody_can_know_is_said() -> None:
    nothing = alone("train/flux_lora_paper")
    assert nothing.hours.value is None and "no result is there, nor planned here" in nothing.hours.why
    run = paper_run()
    run["generate"] |= {"count": None, "plan": {"mode": "fill_up", "over": ["malignant"], "to": 5000}}
    plan = planned(run)
    assert amount(plan, "generate", "images").value is None
    assert plan.hours.bound == "about", "at most, of what is known; and something that is not"
    unlisted = alone("caption/llava", rows=10, captioner="someone/another-vlm")
    assert unlisted.hours.value is None and "someone/another-vlm" in unlisted.hours.why
    assert of_weights("someone/another-vlm").use == "not stated: look it up"


def test_a_run_whose_results_will_lie_in_s3_asks_no_store() -> None:
    """Nor would it wait for one that is out of reach."""
    run = {"output": "s3://no-such-bucket/run", "stages": paper_run()}
    plan = make(graph_of(validate(PipelineConfig, run)), "H100")
    assert plan.hours.value and not any(stage.done for stage in plan.stages)
    assert not [lack for lack in plan.missing if lack.place.startswith("s3://")]


def test_an_endpoint_takes_no_gpu() -> None:
    plan = alone("caption/remote", rows=1_000)
    (stage,) = plan.stages
    assert plan.hours.value == 0 and "an endpoint answers" in stage.estimate.hours.why
    assert "endpoint's price" not in stage.estimate.amounts, "nobody said what its tokens cost"
    remote = read_file(preset("caption/remote"))["remote"] | {"price_in": 2.0, "price_out": 8.0}
    priced = amount(alone("caption/remote", rows=1_000, remote=remote), "caption", "endpoint's price")
    assert priced.value == pytest.approx(1_000 * (640 * 2 + 128 * 8) / 1e6) and priced.basis == "assumed"
    assert [licence.licence for licence in stage.licences] == ["the provider's terms"]
    assert not [lack for lack in plan.missing if "model" in lack.field]


def test_several_sizes_give_an_upper_bound() -> None:
    plan = alone("train/flux_lora_paper", rows=1_000)
    operations = amount(plan, "train", "operations")
    assert operations.bound == "at most" and "512 px, the largest" in operations.why


@pytest.mark.parametrize(
    ("name", "rows", "known"),
    [
        ("instruct/dermasynth", 46_010, True), ("vqa/default", None, True), ("compare-captioners/dermaflux", 100, True),
        ("tune-vlm/dermatollama", 5_000, True), ("tune-vlm/qwen3_vl", 5_000, True), ("classify/nano", 7_000, True),
        ("predict/default", 7_000, True), ("evaluate/dermdit", 1_000, True), ("audit-classifier/default", 10, False),
        ("audit-captions/default", 10, True), ("captioner/nano", None, True), ("sweep/glide_ablation", None, True),
        ("predict/zero_shot", 10, True),
    ],
)  # fmt: skip
def test_every_stage_has_an_estimate_or_says_that_it_has_none(name: str, rows: int | None, known: bool) -> None:
    plan = alone(name, rows=rows)
    assert (plan.hours.value is not None) == known, plan.hours.why


def test_dermatollama_takes_what_the_page_has() -> None:
    """docs/scaling.md: 0.42 H100 hours for three epochs of 5,000 samples."""
    assert alone("tune-vlm/dermatollama", rows=9_000).hours.value == pytest.approx(0.42, abs=0.005)


def test_all_commands_are_known() -> None:
    from dermray.pipeline import COMMANDS

    assert set(COMMANDS) - set(ESTIMATORS) - set(ON_CPUS) == {"audit-classifier"}
