"""Exports as others open them: with Hugging Face `datasets`, mlcroissant, tarfile and our own sources."""

import hashlib
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from dermray import storage
from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode
from dermray.publishing import run
from dermray.publishing.run import Exported
from dermray.publishing.settings import PublishConfig
from dermray.storage import OutputTaken
from tests.conftest import ray_of_its_own, s3_environment
from tests.publishing.made import captioned, files, made, photograph, row

FORMATS = ("parquet", "imagefolder", "webdataset")
SPLITS = {"train": "train", "val": "validation", "test": "test"}
ROWS = [captioned(number) for number in range(12)]
ROWS[4] |= {"status": "rejected", "reason": "empty answer"}
PNG = photograph(20, kind="PNG")
MIXED = [*ROWS, captioned(12, image=PNG, sample_id=hashlib.sha256(PNG).hexdigest())]
OK = [one for one in MIXED if one["status"] == "ok"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def exported(result: str, output: str, **more: Any) -> Exported:
    return run.export(validate(PublishConfig, {"result": result, "output": output} | more))


@pytest.fixture(scope="module")
def exports(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned rows, two Parquet files of them, in each format."""
    root = tmp_path_factory.mktemp("exports")
    result = made(f"{root}/caption", MIXED, "caption", per_file=7)
    for form in FORMATS:
        exported(result.uri, f"{root}/{form}", format=form, name="lesions")
    return root


def opened(directory: Path, cache: Path) -> dict[str, Any]:
    """As a user does, without the hub."""
    return dict(datasets.load_dataset(str(directory), cache_dir=str(cache)))


def by_split(rows: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(SPLITS[one["split"]] for one in rows))


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_datasets_opens_rows_with_pictures(exports: Path, tmp_path: Path, form: str) -> None:
    data = opened(exports / form, tmp_path)
    assert {split: len(rows) for split, rows in data.items()} == by_split(OK)
    features = data["train"].features
    assert features["image"] == datasets.Image() and features["age"] == datasets.Value("float32")
    assert features["pairs"] == datasets.List({name: datasets.Value("string") for name in ("question", "answer")})
    assert not {"status", "reason", "split", "cell_issues", "true_colours"} & set(features)
    found = {one["sample_id"]: (split, one) for split, rows in data.items() for one in rows}
    for one in OK:
        split, read = found[one["sample_id"]]
        assert split == SPLITS[one["split"]]
        assert read["image"].convert("RGB").tobytes() == decode(one["image"]).tobytes()
        for name in ("malignant", "age", "sex", "lesion_id", "leak_group", "caption", "said_colours", "pairs", "site"):
            assert read[name] == one.get(name), name


def test_datasets_opens_shards(exports: Path, tmp_path: Path) -> None:
    data = opened(exports / "webdataset", tmp_path)
    assert {split: len(rows) for split, rows in data.items()} == by_split(OK)
    found = {one["__key__"]: one for rows in data.values() for one in rows}
    for one in OK:
        read = found[one["sample_id"]]
        ending = "png" if one["image"] == PNG else "jpg"
        assert read[ending].convert("RGB").tobytes() == decode(one["image"]).tobytes()
        assert read["txt"] == one["caption"] and read["json"]["malignant"] == one["malignant"]
        assert read["json"]["age"] == one["age"] and read["json"]["pairs"] == one["pairs"]


def test_a_shard_is_a_plain_tar_file(exports: Path) -> None:
    with tarfile.open(exports / "webdataset/data/validation-000000.tar") as tar:
        members = {member.name: (member, tar.extractfile(member)) for member in tar}
    wanted = [one for one in OK if one["split"] == "val"]
    assert list(members) == [f"{one['sample_id']}.{ending}" for one in wanted for ending in ("jpg", "json", "txt")]
    assert {(m.mtime, m.uid, m.gid, m.uname) for m, _ in members.values()} == {(0, 0, 0, "")}


def test_files_are_named_by_content_and_no_name_of_a_patient(exports: Path) -> None:
    pictures = [*(exports / "imagefolder").rglob("*.jpg"), *(exports / "imagefolder").rglob("*.png")]
    assert len(pictures) == len(OK)
    for picture in pictures:
        assert hashlib.sha256(picture.read_bytes()).hexdigest() == picture.stem


@pytest.mark.parametrize("form", FORMATS)
def test_croissant_is_valid_and_its_records_are_the_rows(
    exports: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcroissant
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path))
    data = mlcroissant.Dataset(str(exports / form / "croissant.json"))
    assert data.metadata.ctx.issues.errors == set()
    [warning] = data.metadata.ctx.issues.warnings
    assert "datePublished" in warning, "which only whoever publishes can know"
    found = {one["images/sample_id"].decode(): one for one in data.records("images")}
    for one in OK:
        read = found.pop(one["sample_id"])
        assert read["images/image"].convert("RGB").tobytes() == decode(one["image"]).tobytes()
        if form != "webdataset":
            assert read["images/split"].decode() == SPLITS[one["split"]]
            assert read["images/malignant"] == one["malignant"] and read["images/caption"].decode() == one["caption"]
            assert read["images/age"] == one["age"] and [w.decode() for w in read["images/said_colours"]] == [
                "red",
                "black",
            ]
    assert not found
    if form == "webdataset":
        told = {one["descriptions/sample_id"].decode(): one for one in data.records("descriptions")}
        assert {json.loads(one["descriptions/json"])["sample_id"] for one in told.values()} == set(told)
        assert len(told) == len(OK)
    said = json.loads((exports / form / "croissant.json").read_bytes())
    listed = [file for file in said["distribution"] if file["@type"] == "cr:FileObject"]
    assert {file["contentUrl"] for file in listed} == {
        str(file.relative_to(exports / form))
        for end in ("parquet", "tar")
        for file in (exports / form).rglob(f"*.{end}")
    }
    for file in listed:
        content = (exports / form / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")


def test_the_card_counts_what_is_there(exports: Path) -> None:
    card = (exports / "parquet/README.md").read_text()
    benign = sum(not one["malignant"] for one in OK)
    assert f"| benign | {sum(not one['malignant'] for one in OK if one['split'] == 'train')} |" in card
    assert f"| {benign} |" in card and "No medical device" in card and "Captions are written by a machine" in card
    assert f"| [CC-BY-NC-4.0](https://creativecommons.org/licenses/by-nc/4.0/) | {len(OK)} | no commercial use" in card
    assert "HAM10000 (Tschandl, Rosendahl, Kittler 2018)" in card and f"{len(OK)} leak groups" in card
    assert "13 ok" not in card and "12 ok, 1 rejected" in card
    assert "license: cc-by-nc-4.0" in card and "n<1K" in card


def test_nothing_of_this_machine_is_in_them(exports: Path) -> None:
    for form in FORMATS:
        for file in (exports / form).rglob("*"):
            assert not file.is_file() or str(exports).encode() not in file.read_bytes()
        names = {name for name in files(exports / form) if name.startswith(".dermray")}
        assert names == {".dermray/export.json", ".dermray/finished.json"}


def test_an_export_in_s3_has_the_same_bytes(exports: Path, bucket: str, s3_server: str) -> None:
    made(f"{bucket}/caption", MIXED, "caption", per_file=7)
    with ray_of_its_own(**s3_environment(s3_server)):
        for form in FORMATS:
            done = exported(f"{bucket}/caption", f"{bucket}/{form}", format=form, name="lesions")
            assert done.splits == by_split(OK)
    for form in FORMATS:
        uris = storage.list_files(f"{bucket}/{form}")
        there = {uri.removeprefix(f"{bucket}/{form}/"): storage.read_bytes(uri) for uri in uris}
        assert there == {name: (exports / form / name).read_bytes() for name in files(exports / form)}


def test_ingest_reads_the_shards_again(tmp_path: Path) -> None:
    from dermray import manifest
    from dermray.datasets import ingest
    from dermray.records import read_columns

    source = {"source": "phantom", "count": 120, "size": 32}
    first = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/first", "sources": [source]}))
    done = exported(first.uri, f"{tmp_path}/out", format="webdataset", shard_mb=1)
    assert done.splits == {SPLITS[name]: number for name, number in _splits(first).items()}
    names = ("source_id", "diagnosis", "malignant", "entity", "skin_tone", "age", "sex", "site", "licence")
    again = {
        "source": "webdataset",
        "path": f"{tmp_path}/out",
        "columns": {n: n for n in names} | {"patient_id": "leak_group"},
    }
    second = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/second", "sources": [again]}))
    wanted = ["sample_id", "split", *names]
    one, two = (
        sorted(read_columns(r.row_files(), wanted, pa.compute.field("status") == "ok").to_pylist(), key=str)
        for r in (first, manifest.read(second.uri))
    )
    assert one == two and len(one) == first.manifest.rows.ok > 100


def _splits(result: Any) -> dict[str, int]:
    from dermray.records import read_columns

    rows = read_columns(result.row_files(), ["split"], pa.compute.field("status") == "ok")
    return dict(Counter(rows["split"].to_pylist()))


def test_licences_are_looked_at_before_a_byte_is_written(tmp_path: Path) -> None:
    rows = [row(n, source="ddi", licence="LicenseRef-DDI-research-use") if n < 4 else row(n) for n in range(12)]
    result = made(f"{tmp_path}/ingest", rows).uri
    with pytest.raises(ConfigError, match="4 rows of ddi: LicenseRef-DDI-research-use"):
        exported(result, f"{tmp_path}/out")
    assert not (tmp_path / "out").exists()
    done = exported(result, f"{tmp_path}/out", leave_out_forbidden=True)
    assert sum(done.splits.values()) == 8 and "4 rows were left out" in str(done)
    card = (tmp_path / "out/README.md").read_text()
    assert "| ddi | LicenseRef-DDI-research-use | 4 |" in card and "Left out" in card
    done = exported(result, f"{tmp_path}/all", permitted=["LicenseRef-DDI-research-use"])
    assert sum(done.splits.values()) == 12 and "you say that you may hand on: LicenseRef-DDI-research-use" in str(done)
    assert "license: other" in (tmp_path / "all/README.md").read_text()
    with pytest.raises(ConfigError, match="no row is left to export"):
        exported(result, f"{tmp_path}/none", leave_out_forbidden=True, where={"source": ["ddi"]})


def test_names_of_ones_own_patients_stay(tmp_path: Path) -> None:
    own = made(f"{tmp_path}/own", [row(n, source="clinic", patient_id="clinic/Ann Smith") for n in (0, 1)]).uri
    exported(own, f"{tmp_path}/out", format="webdataset")
    assert not any(b"Ann Smith" in file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert "stayed where the data are" in (tmp_path / "out/README.md").read_text()
    exported(own, f"{tmp_path}/kept", keep_ids=True, without=["lesion_id"])
    [shard] = (tmp_path / "kept/data").iterdir()
    columns = datasets.Dataset.from_parquet(str(shard), cache_dir=str(tmp_path)).column_names
    assert {"patient_id", "source_id", "leak_group"} <= set(columns) and "lesion_id" not in columns
    exported(own, f"{tmp_path}/few", columns=["malignant"])
    [shard] = (tmp_path / "few/data").iterdir()
    few = datasets.Dataset.from_parquet(str(shard), cache_dir=str(tmp_path)).column_names
    assert few == ["image", "sample_id", "malignant"]


def test_positions_in_exif_are_told(tmp_path: Path) -> None:
    image = photograph(1, position=True)
    result = made(f"{tmp_path}/ingest", [row(0), row(1, image=image)]).uri
    done = exported(result, f"{tmp_path}/out")
    assert "warning: 1 images say in their EXIF where they were taken" in str(done)
    assert "1 images hold a position (GPS)" in (tmp_path / "out/README.md").read_text()
    assert str(exported(result, f"{tmp_path}/out")) == str(done), "a finished export says the same again"


def test_synthetic_images_and_estimated_tones_are_called_so(tmp_path: Path) -> None:
    drawn = {"origin": "synthetic", "source": "synthetic", "split": "train", "leak_group": None, "prompt": "a lesion",
             "licence": "CC-BY-4.0 AND CC0-1.0", "skin_tone": "B", "skin_tone_source": "estimated"}  # fmt: skip
    result = made(f"{tmp_path}/generate", [captioned(n, **drawn) for n in range(3)], "generate").uri
    assert exported(result, f"{tmp_path}/out").splits == {"train": 3}
    card = (tmp_path / "out/README.md").read_text()
    assert "3 drawn by a model" in card and "3 images are synthetic: they show no patient" in card
    assert "3 skin tones are estimates" in card and "| B, estimated | 3 | 3 |" in card
    assert "- synthetic\n" in card and "leak groups" not in card
    assert card.count("cc0-1.0") == 1 and "cc-by-4.0" in card


def test_how_it_was_split_is_told_where_it_is_known(tmp_path: Path) -> None:
    ingest = made(f"{tmp_path}/ingest", [row(n) for n in range(4)])
    result = made(f"{tmp_path}/caption", [captioned(n) for n in range(4)], "caption", inputs={"rows": ingest}).uri
    exported(result, f"{tmp_path}/out")
    card = (tmp_path / "out/README.md").read_text()
    assert f"(key `{ingest.manifest.key}`), which was not at hand" in card
    exported(result, f"{tmp_path}/told", ingest=ingest.uri)
    card = (tmp_path / "told/README.md").read_text()
    assert "train 0.5, validation 0.25, test 0.25" in card and "seed 3" in card
    other = made(f"{tmp_path}/other", [row(n) for n in range(4)], seed=4).uri
    with pytest.raises(ConfigError, match="was made of"):
        exported(result, f"{tmp_path}/x", ingest=other)


def test_places_that_hold_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = made(f"{tmp_path}/ingest", [row(n) for n in range(4)]).uri
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(ConfigError, match="holds files that are no export; choose an empty or a new directory"):
            exported(result, f"{tmp_path}/{name}")
    exported(result, f"{tmp_path}/out")
    with pytest.raises(ConfigError, match=r"holds an export of another result .*format: 'parquet' there, 'webdataset'"):
        exported(result, f"{tmp_path}/out", format="webdataset")


def test_one_export_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = made(f"{tmp_path}/ingest", [row(n) for n in range(4)]).uri
    write, refused = run._written, list[str]()

    def another_begins(*given: Any) -> Any:
        with pytest.raises(OutputTaken, match="another run on"):
            exported(result, f"{tmp_path}/out")
        refused.append(result)
        return write(*given)

    monkeypatch.setattr(run, "_written", another_begins)
    exported(result, f"{tmp_path}/out")
    assert refused


def test_rows_that_are_lost_are_told(tmp_path: Path) -> None:
    result = made(f"{tmp_path}/ingest", [row(n) for n in range(4)], per_file=1)
    next(Path(result.data, "rows").glob("*3.parquet")).unlink()
    with pytest.raises(RuntimeError, match="3 usable rows there, and its manifest says 4"):
        exported(result.uri, f"{tmp_path}/out")
    assert not (tmp_path / "out").exists()
