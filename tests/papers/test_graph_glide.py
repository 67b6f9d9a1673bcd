"""Paper 000's graph: its settings are the paper's, and it runs."""

from pathlib import Path

import pytest

from dermray.classification.arms import needed
from dermray.config import preset
from dermray.evaluation.table import rows
from dermray.manifest import Result
from dermray.papers.published import read
from dermray.pipeline import Graph
from dermray.records import ENTITIES
from tests.papers.graphs import compared, finished, graph_of, require_planted_copies_found, smoke_cut

ABLATIONS = ("ablation", "ablation_as_published")
READERS = (
    "stages.readers={stage: reader-study analyse, study: {from: study}, answers: [jane.xlsx], "
    "classifiers: [{from: ablation}]}",
    "stages.compare.results.readers={from: readers}",
)


@pytest.fixture(scope="module")
def paper() -> Graph:
    return graph_of("glide_ham10000", "paper")


def test_data_are_ham10000_without_the_test_set_that_came_later(paper: Graph) -> None:
    for name in ("ham10000", "ham10000_by_image"):
        config = paper[name].config
        [source] = config.sources
        assert source["source"] == "ham10000" and source["table"] == "HAM10000_metadata.csv"
        assert config.fractions.test == 0.2, "section 2.4: 80-20%"
        assert paper["ablation"].config.real_images < 0.99 * config.fractions.train * 10_015, "copies are left out"
    assert paper["ham10000"].config.split_by == "group" and paper["ham10000_by_image"].config.split_by == "image"


def test_glide_is_fine_tuned_as_section_2_1_says(paper: Graph) -> None:
    config = paper["glide"].config
    loop, model = config.loop, config.model
    assert config.family == "glide" and model["base"] == "weights/glide"
    assert (loop.learning_rate, loop.batch_size, loop.epochs, loop.weight_decay) == (1e-5, 4, 60, 0.0)
    assert loop.precision == "fp32" and model["caption_dropout"] == 0.0
    assert (model["base_size"], model["image_size"]) == (128, 256)
    assert model.get("stages", "both") == "both", "the upsampler is trained too"


def test_as_many_images_are_drawn_as_there_are(paper: Graph) -> None:
    config = paper["images"].config
    assert config.count == 10_015 and config.batch_size == 8, "group sampling of 8"
    assert config.plan.mode == "as_data" and config.plan.over == ("entity",)


def test_table_1_is_measured_by_entity(paper: Graph) -> None:
    config = paper["evaluate"].config
    assert config.groups == ("entity",) and config.diversity_within == "entity" and config.image_size == 256
    assert [each.kind for each in config.extractors] == ["inception"] and config.real == "train"
    assert set(config.pairing) == {"prompt", "random"}


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_ablation_is_section_2_4s(name: str, paper: Graph) -> None:
    config = paper[name].config
    [backbone], training = config.backbones, config.training
    assert config.column == "entity" and (backbone.name, backbone.learning_rate) == ("small_cnn", 1e-3)
    assert (training.epochs, training.batch_size, training.patience, training.keep) == (100, 32, 5, "best")
    arms = {arm.role: needed(arm, 1000) for arm in config.all_arms}
    assert arms["baseline"] == (1000, 0) and arms["synthetic only"] == (0, 1000) and arms["mixed"] == (1000, 1000)
    assert "images" in paper[name].inputs.values()
    made_of = {"ablation": "captions", "ablation_as_published": "ham10000_by_image"}
    assert paper[name].inputs["rows"] == made_of[name]


def test_readers_see_140_images(paper: Graph) -> None:
    config = paper["study"].config
    each = config.originals_per_class + config.synthetic_per_class
    assert each * len(ENTITIES) == 140 and config.side == 256 and set(config.target().classes) == set(ENTITIES)


def test_readers_answers_are_analysed_by_an_override(paper: Graph) -> None:
    assert "readers" not in paper
    graph = graph_of("glide_ham10000", "paper", *READERS, "stages.compare.output=elsewhere")
    assert graph["readers"].inputs == {"study": "study", "classifiers.0": "ablation"}
    assert graph["compare"].inputs["results.readers"] == "readers"
    comment = preset("papers/glide_ham10000").read_text()
    assert all(part.partition("=")[0] in comment for part in READERS)


@pytest.mark.parametrize("scale", ["nano", "photographs", "smoke"])
def test_every_arrow_is_there_at_other_scales(scale: str, paper: Graph) -> None:
    small = graph_of("glide_ham10000", scale)
    assert small.keys() == paper.keys() | {"captioner"}
    for name, instance in paper.items():
        wired = {key: made for key, made in small[name].inputs.items() if made != "captioner"}
        assert wired == instance.inputs, name


@pytest.fixture(scope="module")
def smoke(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    return smoke_cut("glide_ham10000", tmp_path_factory.mktemp("glide"), ["captions"])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_smoke_cut_follows_every_arrow_and_marks_what_leaks(smoke: dict[str, Result]) -> None:
    assert smoke.keys() == graph_of("glide_ham10000", "paper").keys()
    for name, result in smoke.items():
        counts = result.manifest.rows
        assert counts.rows_in == counts.ok + counts.rejected + counts.failed > 0 and not counts.failed, name
    assert smoke["captions"].manifest.rows.rows_in == smoke["ham10000"].manifest.rows.ok
    assert smoke["images"].manifest.rows.rows_in == 40
    assert smoke["study"].manifest.rows.ok == 2 * len(ENTITIES)
    leaking = {name for name, result in smoke.items() if result.manifest.leaking_groups}
    assert leaking == {"ham10000_by_image", "ablation_as_published", "compare"}
    grouped, published = (smoke[name].manifest.metrics["tested"][0] for name in ABLATIONS)
    assert grouped["seen_by_generator"] == {} and published["seen_by_generator"]["GLIDE"] > 0
    assert "The generator of GLIDE saw" in Path(smoke["ablation_as_published"].data, "page.html").read_text()
    measured = {row["group"] for row in rows(smoke["evaluate"].manifest.metrics) if row.get("attribute") == "entity"}
    assert measured == set(ENTITIES)


@pytest.mark.slow
def test_its_page_has_both_ablations_in_table_3_and_calls_nothing_comparable(smoke: dict[str, Result]) -> None:
    lines = compared(smoke["compare"])
    assert len({line["what"] for line in lines}) == len({str(cell.labels) for cell in read("glide_ham10000").cells()})
    table_3 = [line for line in lines if line["table"] == "Table 3, accuracy"]
    assert [line["ours_is"].partition(",")[0] for line in table_3] == [*ABLATIONS] * 3
    assert all(line["ours"] for line in table_3)
    without = {line["table"] for line in lines if not line["ours"]}
    assert {"section 3.2, AI or original", "Figure 2"} <= without, "nobody has read the study"
    assert {line["comparable"] for line in lines} == {"False"}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_at_nano_scale_captions_are_true_and_more_real_images_help(local_ray: None, tmp_path: Path) -> None:
    made = finished("glide_ham10000", "nano", tmp_path / "run")
    assert made["captions"].manifest.metrics["attribute_accuracy"]["mean"] >= 0.9
    assert made["study"].manifest.rows.ok == 140
    require_planted_copies_found(made["images"])
    assert made["ham10000_by_image"].manifest.leaking_groups, "patients with several phantoms"
    grouped, published = (made[name].manifest.metrics["tested"][0]["seen_by_generator"] for name in ABLATIONS)
    assert grouped == {} and published["GLIDE"] > 0, "test images that the generator saw are told"
    for name in ABLATIONS:
        verdict = {f"{v['better']} > {v['worse']}": v for v in made[name].manifest.metrics["verdict"]}
        assert verdict["more real > real only"]["mean"] > 0, name
