"""Paper 002's graph: its settings are the paper's, and it runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dermray import manifest, pipeline
from dermray.captioning import prompts
from dermray.classification.arms import needed
from dermray.config import preset, validate
from dermray.manifest import Result
from dermray.papers.published import read
from dermray.pipeline import Graph, PipelineConfig
from dermray.planning import counting
from tests.classification import tiny_clip
from tests.papers.graphs import compared, finished, graph_of, require_planted_copies_found, smoke_cut

ELEVEN = {"mednode", "hiba", "derm12345", "isic_2019", "isic_2020", "milk10k", "pad_ufes_20", "melanoma_10000",
          "melanoma_cancer", "ddi", "isic_2024"}  # fmt: skip
TESTED = {"isic_2019", "melanoma_10000", "melanoma_cancer"}  # section 3: ISIC 2019 and both of Kaggle's
SWEEPS = ("sources", "ratios")


@pytest.fixture(scope="module")
def paper() -> Graph:
    return graph_of("dermaflux", "paper")


def uncounted(sentence: str) -> None:
    raise AssertionError(f"{sentence}: operations.json has it")


def test_data_are_table_1s(paper: Graph) -> None:
    config = paper["ingest"].config
    assert {given["source"] for given in config.sources} == ELEVEN
    assert config.min_side == 128 and config.fractions.test == 0
    # Kaggle's two lie in folders named after their splits; no other entry may add to the test images
    split = {given["source"] for given in config.sources if given.get("split") == "test"}
    assert split == TESTED - {"melanoma_10000", "melanoma_cancer"}


def test_captions_are_llamas_under_figure_2s_question(paper: Graph) -> None:
    config = paper["caption"].config
    question = prompts.render(config.prompt_set, {"malignant": True})
    assert question.startswith("This is an image containing a malignant lesion.")
    assert "Llama-3.2" in config.remote.model and config.metadata == []
    choice = paper["compare_captioners"].config
    assert len(choice.captioners) == 3 and choice.images == 100


def test_the_generator_is_section_2_2s(paper: Graph) -> None:
    config = paper["dermaflux"].config
    assert config.family == "flux_lora" and config.buckets == (128, 256, 512) and config.small_images == "drop"
    told = {name: config.model[name] for name in ("base", "rank", "alpha", "targets")}
    assert told == {"base": "black-forest-labs/FLUX.1-dev", "rank": 64, "alpha": 64, "targets": "attention"}
    assert config.loop.epochs == 5
    assert counting.training(config, uncounted).trained == 104_595_456, "all attention layers at rank 64"
    drawn = paper["dermaflux_images"].config
    assert (drawn.sampling_steps, drawn.guidance_scale, drawn.plan.mode) == (20, 3.5, "balanced")
    assert drawn.plan.over == ("malignant",)


def test_classifiers_are_section_3s(paper: Graph) -> None:
    for name in SWEEPS:
        config = paper[name].config
        told = [(each.name.partition(".")[0], each.weights, each.learning_rate) for each in config.backbones]
        assert told == [("resnext50_32x4d", "timm", 1e-4), ("vit_base_patch16_224", "timm", 2e-5)]
        training = config.training
        assert (training.epochs, training.batch_size, training.schedule) == (40, 32, "cosine")
        assert config.seeds == 5 and config.balanced and config.max_test_images > 9100


def test_training_sets_are_section_3_1s_and_3_2s(paper: Graph) -> None:
    config = paper["sources"].config
    assert [source.name for source in config.sources] == ["DermaFlux", "Derm-T2IM"]
    roles = {arm.role: needed(arm, config.real_images) for arm in config.all_arms}
    assert roles["synthetic only"] == (0, 6000) and roles["mixed"] == (2500, 5000)
    config = paper["ratios"].config
    assert config.real_counts == (2500, 5000, 7000, 10000)
    few = [needed(arm, 2500) for arm in config.all_arms if arm.role == "mixed"]
    assert (2500, 4375) in few and (2500, 2500) in few
    for name in SWEEPS:
        for field, instance in paper[name].inputs.items():
            if field.startswith("synthetic"):
                spare = paper[instance].config.count / paper[name].config.synthetic_images
                assert spare >= 1.05, "the gate leaves copies out"


def test_zero_shot_models_are_those_that_table_3_is_compared_by(paper: Graph) -> None:
    wanted = {cell.ours["backbone"] for cell in read("dermaflux").cells() if cell.ours.get("role") == "zero-shot"}
    assert {model.name for model in paper["ratios"].config.zero_shot} == wanted


def test_derm_t2ims_released_images_can_take_the_place_of_ours() -> None:
    """As the comment in the graph says."""
    given = yaml.safe_load(preset("papers/dermaflux").read_text())
    stages: dict[str, Any] = given["stages"]
    classes = {"malignant_classes": ["malignant"], "benign_classes": ["benign"]}
    stages["derm_t2im"] = None
    stages["derm_t2im_images"] = {
        "stage": "ingest", "sources": [{"source": "folder", "path": "data/Derm-T2IM"} | classes],
        "fractions": {"train": 1, "val": 0, "test": 0},
    }  # fmt: skip
    for name in ("derm_t2im", "derm_t2im_images"):
        del stages["compare"]["results"][name]
    stages["sources"]["synthetic"][1]["trained_on"] = "unknown"
    graph = pipeline.load(validate(PipelineConfig, given | {"scale": "paper"}))
    assert graph["sources"].inputs["synthetic.1.result"] == "derm_t2im_images"


@pytest.fixture(scope="module")
def smoke(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """With a tiny CLIP in the place of Table 3's models, which are on a hub.

    Without the comparison of captioners, which starts vLLM twice and has tests of its own.
    """
    place = tmp_path_factory.mktemp("dermaflux")
    zero_shot = f"stages.ratios.zero_shot=[{{name: BiomedCLIP, model: {tiny_clip.write(place / 'clip')}}}]"
    without = "stages.compare_captioners=null"
    return smoke_cut("dermaflux", place, ["caption"], zero_shot, without)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_each_arrow_carries_its_rows(smoke: dict[str, Result]) -> None:
    rows = {name: result.manifest.rows for name, result in smoke.items()}
    for name, counted in rows.items():
        assert counted.rows_in == counted.ok + counted.rejected + counted.failed > 0 == counted.failed, name
    small = 4
    assert rows["ingest"].rejected >= small, "images below the smallest scale"
    assert rows["caption"].rows_in == rows["ingest"].ok
    train = smoke["ingest"].manifest.metrics["splits"]["train"]
    for generator, images in (("dermaflux", "dermaflux_images"), ("derm_t2im", "derm_t2im_images")):
        assert rows[generator].rows_in == train
        assert smoke[images].manifest.inputs["generator"] == smoke[generator].manifest.key
        assert rows[images].rows_in == smoke[images].manifest.config["count"]
    for name in SWEEPS:
        assert smoke[name].manifest.inputs["rows"] == smoke["caption"].manifest.key
        tested = smoke[name].manifest.metrics["tests"]["test"]["images"]
        assert tested == smoke["ingest"].manifest.metrics["splits"]["test"]


@pytest.mark.slow
def test_the_comparison_has_the_papers_cells_beside_ours(smoke: dict[str, Result]) -> None:
    lines = compared(smoke["compare"])
    ours = [line for line in lines if line["ours"]]
    assert {line["comparable"] for line in lines} == {"False"}
    assert all("nano scale" in line["not_comparable_because"] for line in ours)
    told = {(line["table"], line["what"]) for line in ours}
    table_2 = {line["what"] for line in ours if line["table"] == "Table 2"}
    assert len(table_2) == 8, "two classifiers, two scenarios, two generators"
    assert ("Table 3", "model BiomedCLIP") in told and ("Figure 5", "model BiomedCLIP") in told
    assert ("Table 3", "model DermaFlux-ViT") in told and ("section 3.3", "what synthetic images") in told
    for real in ("2,500", "5,000"):
        for ratio in ("1:0", "1:1", "0:1"):
            assert ("Figure 4", f"real {real}, ratio {ratio}, classifier ViT") in told


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nano_shows_what_a_model_that_learned_can_show(tmp_path: Path, local_ray: None) -> None:
    results = finished("dermaflux", "nano", tmp_path / "run")
    metrics = {name: result.manifest.metrics for name, result in results.items()}
    assert metrics["caption"]["attribute_accuracy"]["mean"] >= 0.85, "captions are true"
    for name in ("dermaflux_images", "derm_t2im_images"):
        require_planted_copies_found(results[name])
    [tested] = metrics["sources"]["tested"]
    only = {arm["source"]: arm["metrics"]["auc"]["mean"] for arm in tested["arms"] if arm["role"] == "synthetic only"
            and arm["backbone"] == "test_resnet"}  # fmt: skip
    assert only["DermaFlux"] > 0.65, "malignancy follows from what is drawn, and is read back"
    assert only["DermaFlux"] > only["Derm-T2IM"], "noise teaches nothing"
    for name in SWEEPS:
        [tested] = metrics[name]["tested"]
        controls = [gain for gain in tested["verdict"] if gain["role"].endswith("control")]
        assert controls and all(gain["mean"] > 0 for gain in controls), "controls in order"
    assert manifest.read(str(tmp_path / "run" / "compare")).manifest.rows.rows_in > 70
