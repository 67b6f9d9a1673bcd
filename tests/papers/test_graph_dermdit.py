"""Paper 001's graph: its settings are the paper's, and it runs."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.compute as pc
import pytest
import torch

from dermray import manifest
from dermray.captioning import prompts
from dermray.classification.arms import needed
from dermray.classification.audit.shifts import DEPENDS
from dermray.generators.dermdit import DermDiTConfig, geometry
from dermray.generators.dit import Transformer
from dermray.manifest import Result
from dermray.papers.published import read
from dermray.pipeline import Graph
from dermray.records import read_columns
from tests.papers.graphs import compared, finished, graph_of, require_planted_copies_found, smoke_cut

TABLE_1 = ("ldm", "dit", "ldm_2", "dit_2", "dit_5")
IN_CI = ("dit_2", "dit_5")
INGESTS = {"DDI": "ddi", "DDI-A": "ddi", "ISIC-2018": "isic_2018"}  # of the columns that CI has
LEFT_OUT = ("ldm", "dit", "ldm_2", "dit_5_fixed")
# At nano scale
AUDITS = {"confounded", "confounded_classifier", "audit_of_confounded", "audit_of_inception"}
FIVE = ("malignant", "skin_tone", "sex", "age", "site")


@pytest.fixture(scope="module")
def paper() -> Graph:
    return graph_of("dermdit", "paper")


def test_data_are_isic_2016_to_2020_without_the_test_set_of_table_2(paper: Graph) -> None:
    config = paper["isic"].config
    assert [given["source"] for given in config.sources] == [f"isic_{year}" for year in range(2016, 2021)]
    assert not any("Test" in str(given) for given in config.sources)
    # DDI, ISIC 2018, Fitzpatrick17k, Atlas, ASAN, MClass
    others = [name for name, each in paper.items() if each.stage == "ingest" and name != "isic"]
    assert others == ["ddi", "isic_2018", "fitzpatrick17k", "atlas", "asan", "mclass"]


def test_captions_are_of_two_and_of_five_attributes(paper: Graph) -> None:
    two, five = paper["captions_2"].config, paper["captions_5"].config
    assert "llava-1.5" in two.captioner and "llava-med" in five.captioner
    assert set(prompts.prompt_set(two.prompt_set).needs) == set(FIVE[:2])
    assert set(prompts.prompt_set(five.prompt_set).needs) == set(FIVE)
    assert two.metadata == five.metadata == [], "the models are told the metadata, and say it"


def test_five_generators_are_trained_as_section_3_1_says(paper: Graph) -> None:
    for name in (*TABLE_1, "dit_5_fixed"):
        config = paper[name].config
        loop = config.loop
        assert (loop.steps, loop.batch_size, loop.learning_rate, loop.schedule) == (400_000, 16, 1e-4, "constant"), name
        assert config.model["image_size"] == 256 and config.model["vae"] == "stabilityai/sd-vae-ft-ema"
        assert paper[name].inputs["rows"] == ("captions_5" if "5" in name else "captions_2")
        if config.family == "dermdit":  # section 2.2: 24 blocks, patches of 4
            assert (config.model["blocks"], config.model["patch"], config.model["width"]) == (24, 4, 1024)
        assert (config.flips, config.encode_ahead) == (True, False), "trained on the same images"
        assert loop.model_dump() == paper["dit_2"].config.loop.model_dump(), name
    assert paper["ldm_2"].config.model["caption_dropout"] == 0, "as the published DermDiT, which drops none"
    families = {name: paper[name].config.family for name in TABLE_1}
    assert families == {name: "latent_diffusion" if "ldm" in name else "dermdit" for name in TABLE_1}


def test_two_are_unconditional_and_the_others_the_published_network_beside_ours(paper: Graph) -> None:
    model = {name: paper[name].config.model for name in (*TABLE_1, "dit_5_fixed")}
    assert model["ldm"]["caption_dropout"] == 1.0 and model["ldm_2"]["caption_dropout"] < 1
    assert model["dit"]["conditional"] is False
    assert model["dit_2"]["compat"] == model["dit_5"]["compat"] == "paper"
    assert model["dit_5_fixed"]["compat"] == "fixed"
    same = {key: value for key, value in model["dit_5"].items() if key != "compat"}
    assert same == {key: value for key, value in model["dit_5_fixed"].items() if key != "compat"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Counted on the public code, with its table of positions of 64 x 1024: tests/generators/test_dermdit.py
    [("dit_2", 407_964_800), ("dit_5", 407_964_800)],
)
def test_conditional_networks_have_the_published_size(name: str, parameters: int, paper: Graph) -> None:
    vae = SimpleNamespace(block_out_channels=(128, 256, 512, 512), latent_channels=4)  # of Stable Diffusion
    with torch.device("meta"):
        network = Transformer(geometry(DermDiTConfig(**paper[name].config.model), vae))
    assert sum(p.numel() for p in network.parameters()) + network.pos_embed.numel() == parameters


def test_images_are_as_many_as_section_3_2_draws(paper: Graph) -> None:
    for name in (*TABLE_1, "dit_5_fixed"):
        config = paper[f"{name}_images"].config
        assert config.count == (30_000 if name in ("ldm", "dit") else 50_000), name
        assert config.sampling_steps == 250 and config.plan.mode == "as_data"
        assert paper[f"{name}_images"].inputs["generator"] == name
    balanced = paper["balanced"].config
    assert balanced.plan.mode == "balanced"
    assert set(balanced.plan.over) == {*FIVE} - {"age"} | {"age_band"}


def test_table_1_is_measured_in_two_inceptions_against_training_images(paper: Graph) -> None:
    config, inputs = paper["evaluate"].config, paper["evaluate"].inputs
    assert [each.kind for each in config.extractors] == ["inception", "classifier"] and config.real == "train"
    assert inputs["extractors.1.weights"] == "inception"
    assert paper["inception"].config.backbone.name.startswith("inception_v3")
    assert config.plot_images == 1000 and config.image_size == 256
    assert list(config.synthetic) == [*TABLE_1, "dit_5_fixed"]
    assert {inputs[f"synthetic.{name}"] for name in TABLE_1} == {f"{name}_images" for name in TABLE_1}


def test_table_2_has_its_eleven_columns_and_its_classifier(paper: Graph) -> None:
    config = paper["sweep"].config
    published = {cell.ours["test_set"] for cell in read("dermdit").cells() if "test_set" in cell.ours}
    assert {each.name for each in config.test_sets} == published and len(published) == 11
    [backbone], training = config.backbones, config.training
    assert backbone.name.startswith("resnext101")
    assert (training.epochs, training.batch_size, training.keep) == (10, 64, "best")
    assert needed(next(arm for arm in config.all_arms if arm.role == "synthetic only"), 1000) == (0, 1000)
    assert paper["sweep"].inputs["synthetic"] == "balanced"
    assert paper["balanced"].config.count >= 1.05 * config.synthetic_images, "the gate leaves copies out"


@pytest.mark.parametrize("scale", ["nano", "photographs", "smoke"])
def test_every_arrow_is_there_at_other_scales(scale: str, paper: Graph) -> None:
    small = graph_of("dermdit", scale)
    assert small.keys() == paper.keys() | {"captioner"} | (AUDITS if scale == "nano" else set())
    for name, instance in paper.items():
        wired = {key: made for key, made in small[name].inputs.items() if made != "captioner"}
        assert wired == instance.inputs, name


@pytest.fixture(scope="module")
def smoke(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """With two generators of six, one in latents and one in pixels: each costs 25 s; and with three columns of eleven,
    whose pictures take 4 s each. `make soak` has them all."""
    graph = graph_of("dermdit", "smoke")
    results, columns = graph["compare"].section["results"], graph["sweep"].config.test_sets
    tested = [json.loads(each.model_dump_json()) | {"rows": {"from": INGESTS[each.name]}} for each in columns
              if each.name in INGESTS]  # fmt: skip
    rest = {name: {"from": name} for name in results if name.removesuffix("_images") not in LEFT_OUT}
    return smoke_cut(
        "dermdit",
        tmp_path_factory.mktemp("dermdit"),
        ["captions_2", "captions_5"],
        *(f"stages.{name}{made}=null" for name in LEFT_OUT for made in ("", "_images")),
        "stages.dit_2_images.gate_of=null",  # of one that is left out
        f"stages.dit_2_images.gate={json.dumps(graph['ldm_images'].section['gate'])}",
        f"stages.evaluate.synthetic={json.dumps({name: {'from': f'{name}_images'} for name in IN_CI})}",
        f"stages.sweep.test_sets={json.dumps(tested)}",
        f"stages.compare.results={json.dumps(rest)}",
    )


def _attributes_in_captions(result: Result) -> dict[str, float]:
    """Shares of the captions that say the row's skin tone, sex and site."""
    usable = pc.field("status") == "ok"
    rows = read_columns(f"{result.data}/rows", ["caption", "skin_tone", "sex", "site"], usable).to_pylist()
    said = {name: [str(row[name]) in row["caption"].replace(":", ",") for row in rows] for name in ("sex", "site")}
    said["skin_tone"] = [f"skin tone {row['skin_tone']}" in row["caption"] for row in rows]
    return {name: sum(found) / len(rows) for name, found in said.items()}


def _require_each_arrow(smoke: dict[str, Result], generators: tuple[str, ...]) -> None:
    for name, result in smoke.items():
        rows = result.manifest.rows
        assert rows.rows_in == rows.ok + rows.rejected + rows.failed > 0 and not rows.failed, name
    usable = smoke["isic"].manifest.rows.ok
    assert smoke["captions_2"].manifest.rows.rows_in == smoke["captions_5"].manifest.rows.rows_in == usable
    for name in generators:
        assert smoke[f"{name}_images"].manifest.inputs["generator"] == smoke[name].manifest.key
        assert smoke[f"{name}_images"].manifest.rows.rows_in == 12
    told = smoke["evaluate"].manifest.metrics
    assert list(told["sources"]) == list(generators)
    assert told["pictures"], "density plots and PCA"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_smoke_cut_follows_its_arrows(smoke: dict[str, Result]) -> None:
    _require_each_arrow(smoke, IN_CI)
    two, five = (_attributes_in_captions(smoke[name]) for name in ("captions_2", "captions_5"))
    assert two["skin_tone"] == five["skin_tone"] == five["sex"] == five["site"] == 1.0 and two["site"] == 0.0
    assert smoke["balanced"].manifest.inputs["gate_of"] == smoke["dit_5_images"].manifest.key
    tested = [each["test_set"] for each in smoke["sweep"].manifest.metrics["tested"]]
    assert tested == ["test", *INGESTS]
    lines = compared(smoke["compare"])
    assert {line["comparable"] for line in lines} == {"False"}
    assert all("nano scale" in line["not_comparable_because"] for line in lines if line["ours"])


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_the_smoke_cut_has_a_number_of_ours_beside_each_and_calls_none_comparable(
    local_ray: None, tmp_path: Path
) -> None:
    smoke = smoke_cut("dermdit", tmp_path, ["captions_2", "captions_5"])
    assert smoke.keys() == graph_of("dermdit", "paper").keys()
    assert len(smoke["sweep"].manifest.metrics["tested"]) == 12
    _require_each_arrow(smoke, (*TABLE_1, "dit_5_fixed"))
    lines = compared(smoke["compare"])
    without = {line["what"] for line in lines if not line["ours"]}
    assert without == {"data DDI"}, "there phantoms take its place"
    assert len({line["table"] + line["what"] for line in lines}) == len(read("dermdit").cells())
    assert [line["ours_is"] for line in lines if line["what"] == "model unconditional"] == ["ldm_images", "dit_images"]
    assert {line["comparable"] for line in lines} == {"False"}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_at_nano_scale_captions_are_true_attributes_are_read_back_and_controls_come_out(
    local_ray: None, tmp_path: Path
) -> None:
    made = finished("dermdit", "nano", tmp_path / "run")
    for name in ("captions_2", "captions_5"):
        assert made[name].manifest.metrics["attribute_accuracy"]["mean"] >= 0.9, name
    sources = made["evaluate"].manifest.metrics["sources"]
    accuracy = {name: told["attribute_accuracy"]["mean"] for name, told in sources.items()}
    assert accuracy["dit_5"] >= 0.7, accuracy
    assert all(accuracy["dit_5"] > accuracy[name] + 0.1 for name in accuracy if name != "dit_5"), accuracy
    for number in range(2):  # the judge, and a classifier of the disease
        distance = {name: told["features"][number]["distances"][0]["frechet_excess"] for name, told in sources.items()}
        assert min(distance, key=distance.__getitem__) == "dit_5", "over the floor at its number of images"
    for name in (*TABLE_1, "dit_5_fixed"):
        require_planted_copies_found(made[f"{name}_images"])
    said = {name: made[name].manifest.metrics["attributes"]["skin_tone"] for name in AUDITS if name.startswith("audit")}
    assert said["audit_of_confounded"]["verdict"] == DEPENDS, said
    shift = {name: max(abs(pair["mean"]) for pair in told["pairs"]) for name, told in said.items()}
    assert shift["audit_of_inception"] < 0.5 * shift["audit_of_confounded"], shift
    verdict = {f"{v['better']} > {v['worse']}": v for v in made["sweep"].manifest.metrics["verdict"]}
    assert verdict["more real > real only"]["mean"] > 0 and verdict["real only > shuffled labels"]["mean"] > 0
    assert manifest.read(str(tmp_path / "run" / "compare")).manifest.metrics["counts"]["comparable"] == 0
