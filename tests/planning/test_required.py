"""What a run cannot be without is told at once, and a finished stage needs nothing any more."""

from pathlib import Path
from typing import Any

import pytest

from dermray import manifest, pipeline, storage
from dermray.config import Config, ConfigError, validate
from dermray.manifest import Rows
from dermray.pipeline import PipelineConfig
from dermray.planning.required import require


class Nothing(Config):
    output: str


def missing_of(output: Path, **stages: Any) -> str:
    config = validate(PipelineConfig, {"output": str(output), "stages": stages})
    graph = pipeline.load(config)
    try:
        require(config, graph, graph)
    except ConfigError as error:
        return str(error)
    return ""


def test_weights_and_earlier_results_are_asked_for_and_those_of_the_run_are_not(tmp_path: Path) -> None:
    stages = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "caption": {"rows": {"from": "ingest"}, "captioner": f"{tmp_path}/llava"},
        "evaluate": {"rows": {"from": "caption"}, "synthetic": f"{tmp_path}/old/generate"},
    }
    told = missing_of(tmp_path / "run", **stages)
    assert f"stages.caption.captioner={tmp_path}/llava: not there; make it first, or correct it" in told
    assert f"stages.evaluate.synthetic={tmp_path}/old/generate: not there" in told and "ingest" not in told
    (tmp_path / "llava").mkdir()
    (tmp_path / "old" / "generate").mkdir(parents=True)
    assert missing_of(tmp_path / "run", **stages) == ""


def test_a_hub_s_weights_are_fetched_when_they_are_used(tmp_path: Path) -> None:
    stages = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "caption": {"rows": {"from": "ingest"}, "captioner": "nobody/nothing"},
    }
    assert missing_of(tmp_path, **stages) == ""


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        ("ham10000", ["metadata.csv", "images"]),
        ("isic_2017", ["ISIC-2017_Training_Part3_GroundTruth.csv",
                       "ISIC-2017_Training_Data/ISIC-2017_Training_Data_metadata.csv"]),
        ("isic_2019", ["ISIC_2019_Training_Metadata.csv", "ISIC_2019_Training_GroundTruth.csv",
                       "ISIC_2019_Training_Input"]),
        ("isic_2020", ["ISIC_2020_Training_GroundTruth.csv", "train"]),  # its `labels` is a flag
        ("isic_2024", ["train-metadata.csv", "train-image.hdf5"]),  # in which the images are
        ("derm7pt", ["meta/meta.csv", "meta/train_indexes.csv", "meta/valid_indexes.csv", "meta/test_indexes.csv",
                     "images"]),
        ("ddi", ["ddi_metadata.csv"]),
    ],
)  # fmt: skip
def test_a_source_needs_its_path_and_all_that_it_names_below(tmp_path: Path, source: str, needed: list[str]) -> None:
    ingest = {"sources": [{"source": source, "path": f"{tmp_path}/data"}]}
    told = missing_of(tmp_path / "run", ingest=ingest)
    assert f"{source}: {tmp_path}/data is not there" in told and "stages.ingest.sources.0.path=PATH" in told
    (tmp_path / "data").mkdir()
    for number, name in enumerate(needed):
        told = missing_of(tmp_path / "run", ingest=ingest)
        lacks = [f"{tmp_path}/data/{each} is not there" in told for each in needed]
        assert lacks == [each >= number for each in range(len(needed))]
        place = tmp_path / "data" / name
        place.parent.mkdir(exist_ok=True)
        place.touch() if place.suffix else place.mkdir()
    assert missing_of(tmp_path / "run", ingest=ingest) == ""


def parts_of(source: dict[str, Any]) -> dict[str, Any]:
    return {"stage": "ingest", "sources": [source]}


def test_each_folder_of_a_list_and_descriptions_in_a_table_s_place(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").touch()
    (tmp_path / "part_1").mkdir()
    parts = {"source": "ham10000", "path": str(tmp_path), "images": ["part_1", "part_2"]}
    told = missing_of(tmp_path / "run", ingest={"sources": [parts]})
    assert f"ham10000: {tmp_path}/part_2 is not there" in told and "part_1 is" not in told
    two = missing_of(tmp_path / "run", first=parts_of(parts), second=parts_of(parts | {"images": ["part_3"]}))
    assert two.count("ham10000: ") == 2 and two.count("download it from") == 1, "its layout is told once"
    assert "stages.first.sources.0.path=PATH stages.second.sources.0.path=PATH" in two
    described = {"source": "isic_archive", "path": str(tmp_path), "images": ".", "table": "no.csv"}
    assert "no.csv is not there" in missing_of(tmp_path / "run", ingest={"sources": [described]})
    assert missing_of(tmp_path / "run", ingest={"sources": [described | {"descriptions": "part_1"}]}) == ""


def test_a_half_copied_data_set_in_a_bucket(tmp_path: Path, bucket: str) -> None:
    storage.write_bytes(f"{bucket}/ham/metadata.csv", b"x")
    ingest = {"sources": [{"source": "ham10000", "path": f"{bucket}/ham"}]}
    assert f"ham10000: {bucket}/ham/images is not there" in missing_of(tmp_path / "run", ingest=ingest)
    storage.write_bytes(f"{bucket}/ham/images/1.jpg", b"x")
    assert missing_of(tmp_path / "run", ingest=ingest) == ""


def test_lists_of_known_duplicates_follow_data_and_are_looked_for(tmp_path: Path) -> None:
    lists = ["data/own.csv", {"path": "data/isic/pairs.csv", "source": "isic_2020"}, ["a", "b"]]
    ingest = {"sources": [{"source": "phantom"}], "known_duplicates": lists}
    given = {"output": f"{tmp_path}/run", "data": f"{tmp_path}/derm", "stages": {"ingest": ingest}}
    config = validate(PipelineConfig, given)
    graph = pipeline.load(config)
    with pytest.raises(ConfigError) as told:
        require(config, graph, graph)
    assert f"a list of known duplicates: {tmp_path}/derm/own.csv is not there" in str(told.value)
    assert f"isic_2020: {tmp_path}/derm/isic/pairs.csv is not there" in str(told.value)
    assert "stages.ingest.known_duplicates.1.path=PATH" in str(told.value)
    (tmp_path / "derm" / "isic").mkdir(parents=True)
    for name in ("own.csv", "isic/pairs.csv"):
        (tmp_path / "derm" / name).touch()
    require(config, graph, graph)


def test_a_table_of_more_labels_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").touch()
    (tmp_path / "images").mkdir()
    source = {"source": "isic_2020", "path": str(tmp_path), "table": "metadata.csv", "images": "images"}
    told = missing_of(tmp_path / "run", ingest={"sources": [source | {"more_labels": f"{tmp_path}/my.csv"}]})
    assert f"stages.ingest.sources.0.more_labels={tmp_path}/my.csv: not there" in told
    (tmp_path / "my.csv").touch()
    assert missing_of(tmp_path / "run", ingest={"sources": [source | {"more_labels": f"{tmp_path}/my.csv"}]}) == ""


def test_every_endpoint_needs_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    stages = {
        "ingest": {"sources": [{"source": "phantom"}]},
        "caption": {"rows": {"from": "ingest"}, "remote": remote | {"key_variable": "A_KEY"}},
        "compare-captioners": {
            "rows": {"from": "ingest"},
            "captioners": {"a": {"remote": remote}, "b": {"remote": remote | {"model": "n", "key_variable": "B_KEY"}}},
        },
    }
    for name in ("A_KEY", "B_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    told = missing_of(tmp_path / "run", **stages)
    assert "stages.caption.remote.key_variable=A_KEY: this environment variable is not set; export A_KEY=..." in told
    assert "stages.compare-captioners.captioners.a.remote.key_variable=OPENAI_API_KEY: this" in told
    assert "stages.compare-captioners.captioners.b.remote.key_variable=B_KEY: this" in told
    for name in ("A_KEY", "B_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "word")
    assert missing_of(tmp_path / "run", **stages) == ""


def test_a_finished_ingest_needs_its_images_no_more(tmp_path: Path) -> None:
    stages = {"ingest": {"sources": [{"source": "ddi", "path": f"{tmp_path}/gone"}]}}
    assert "ddi: " in missing_of(tmp_path / "run", **stages)
    with manifest.work("ingest", f"{tmp_path}/run/ingest", Nothing(output="o"), {}) as work:
        work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    assert missing_of(tmp_path / "run", **stages) == ""
