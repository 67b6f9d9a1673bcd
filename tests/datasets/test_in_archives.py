"""The same source from a folder, an archive, S3, an archive in S3 and another store has the same rows."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from dermray import storage
from dermray.archives import paths
from dermray.config import validate
from dermray.datasets import (
    class_folders,
    folder,
    ingest,
    isic_archive,
    isic_descriptions,
    labelled_folders,
    looking,
    mednode,
    pad_ufes_20,
    webdataset,
)  # fmt: skip
from dermray.datasets.listing import files
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.datasets.sources import open_table, rows
from dermray.records import IMAGES, read_columns
from tests.archives.packing import pack, tar_of, zip_of
from tests.conftest import ray_of_its_own, s3_environment
from tests.proxies import CountingProxy

PARTS = ["imgs_part_1", "imgs_part_2"]
PLACES = ("folder", "x.zip", "x.tar", "x.tar.gz", "s3", "s3 zip", "memory", "memory zip")
PAD = "patient_id,lesion_id,diagnostic,fitspatrick,age,gender,region,img_id\n"
Put = Callable[[Path], str]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=PLACES)
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Puts a folder into a place, and says where it then is."""
    kind = request.param

    def put(tree: Path) -> str:
        if kind == "folder":
            return str(tree)
        if kind.startswith("x"):
            return str(pack(tree, tmp_path / "packed" / kind))
        root = request.getfixturevalue("bucket") if kind.startswith("s3") else f"memory://{tmp_path.name}"
        if kind.endswith("zip"):
            return place(pack(tree, tmp_path / "x.zip"), f"{root}/x.zip")
        for file in (file for file in tree.rglob("*") if file.is_file()):
            place(file, f"{root}/in/{file.relative_to(tree).as_posix()}")
        return f"{root}/in"

    return put


def place(file: Path, uri: str) -> str:
    if storage.is_s3(uri):
        storage.write_bytes(uri, file.read_bytes())
    else:
        fsspec.filesystem("memory").pipe_file(uri.removeprefix("memory:/"), file.read_bytes())
    return uri


def images(count: int) -> list[bytes]:
    config = SourceConfig(count=1000, size=32, duplicates=0, broken=0)
    return [phantom_row(i, config)["image"] for i in range(count)]


def tree(root: Path, **given: bytes | str) -> Path:
    for name, data in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def pad_rows(path: str, images: list[str]) -> list[dict[str, Any]]:
    config = pad_ufes_20.SourceConfig(path=path, images=images)
    found = open_table(config, pad_ufes_20.REQUIRED)
    to_row = partial(pad_ufes_20.to_row, config=config)
    return [row for chunk in found.chunks for row in rows(found.table, chunk, to_row, config)]


def looked_at(read: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What ingest makes of rows, without Ray: all that does not say where they lay."""
    given = pa.Table.from_pylist(read, schema=pa.schema([*IMAGES, ("uri", pa.string())]))
    done = pa.concat_tables(looking._look_at(given)).to_pylist()
    told = ("sample_id", "diagnosis", "malignant", "split", "status", "reason", "patient_id", "cell_issues", "width")
    found = {row["source_id"]: tuple(str(row[name]) for name in told) for row in done}
    assert len(found) == len(read)
    return found


def pad(root: Path) -> Path:
    """A small PAD-UFES-20, as a table and two folders of images; one is missing, one damaged."""
    lines = [f"PAT_{i},{i},{('BCC', 'NEV', 'MEL')[i % 3]},2,50,FEMALE,ARM,PAT_{i}.png\n" for i in range(8)]
    pictures = {f"imgs_part_{1 + i % 2}/PAT_{i}.png": image for i, image in enumerate(images(8)) if i != 5}
    pictures["imgs_part_1/PAT_4.png"] = b"no image"
    return tree(root, **{"metadata.csv": PAD + "".join(lines)}, **pictures)


def test_a_table_with_images(tmp_path: Path, put: Put) -> None:
    source = pad(tmp_path / "in")
    expected = looked_at(pad_rows(str(source), PARTS))
    assert [row[4] for row in expected.values()].count("ok") == 6
    assert looked_at(pad_rows(put(source), PARTS)) == expected


def test_class_folders_with_rubbish(tmp_path: Path, put: Put) -> None:
    names = ["train/mel/a.png", "train/nv/b.png", "train/nv/deep/c.png", "test/mel/d.png", "test/nv/é #1.png"]
    source = tree(tmp_path / "in", **dict(zip(names, images(5), strict=True)))
    tree(source, **{"readme.txt": "x", "train/mel/._a.png": "x", "__MACOSX/train/a.png": "x", "test/nv/e.png": ""})

    def read(uri: str) -> dict[str, tuple[Any, ...]]:
        config, told = folder.SourceConfig(path=uri, malignant_classes=["mel"]), class_folders.Told()
        found = class_folders.rows_of(uri, class_folders._files(uri, [""], None), told)
        made = looked_at([folder.of_class_folder(row, config) for row in found])
        assert told.count == len(made) == 9
        folders = list[str]()
        split = [file.name for file in class_folders._files(uri, [""], folders)]
        split += [file.name for file in class_folders._files(uri, folders, None)]
        assert sorted(split) == sorted(made), "as tasks share the listing"
        return made

    expected = read(str(source))
    assert [row[4] for row in expected.values()].count("ok") == 5
    assert read(put(source)) == expected


def test_labelled_folders(tmp_path: Path, put: Put) -> None:
    names = ["melanoma/1.jpg", "naevus/2.jpg", "other/3.jpg"]
    source = tree(tmp_path / "in", **dict(zip(names, images(3), strict=True)))

    def read(uri: str) -> dict[str, tuple[Any, ...]]:
        config = mednode.SourceConfig(path=uri)
        assert storage.exists(storage.readable(config.path))
        found = class_folders.rows_of(uri, files(uri), class_folders.Told())
        return looked_at([labelled_folders.to_row(row, config, mednode.TOLD) for row in found])

    expected = read(str(source))
    assert [row[4] for row in expected.values()].count("rejected") == 1 and read(put(source)) == expected


def test_the_archives_json_files(tmp_path: Path, put: Put) -> None:
    said = '{"name": "ISIC_%d", "meta": {"clinical": {"benign_malignant": "malignant", "age_approx": 40}}}'
    pictures = {f"Images/ISIC_{i}.jpeg": image for i, image in enumerate(images(3))}
    told = {f"Descriptions/ISIC_{i}": said % i for i in range(4)} | {"Descriptions/ISIC_9": "{"}
    source = tree(tmp_path / "in", **pictures, **told)

    def read(uri: str) -> dict[str, tuple[Any, ...]]:
        config = isic_archive.SourceConfig(path=uri, descriptions="Descriptions", images="Images", extension=".jpeg")
        place = config.located("Descriptions")
        names, others = isic_descriptions.listed(place)
        assert (len(names), others) == (5, 0)
        return looked_at(list(isic_descriptions.rows(names, place, isic_archive.to_row, config)))

    expected = read(str(source))
    assert [row[4] for row in expected.values()].count("ok") == 3 and read(put(source)) == expected


def test_shards_in_a_place(tmp_path: Path, put: Put) -> None:
    for number in range(2):
        members = [(f"case{number}.png", images(2)[number]), (f"case{number}.cls", b"nv")]
        (tmp_path / "in").mkdir(exist_ok=True)
        tar_of(tmp_path / "in" / f"train-{number}.tar", *members)
    config = webdataset.SourceConfig(path=put(tmp_path / "in"), columns={"diagnosis": "cls"})
    found, others = webdataset.shards(storage.readable(config.path)) if not config.path.endswith(
        (".tar", ".gz")) else ({}, 0)  # fmt: skip
    read = [sample for name, uri in found.items() for sample in webdataset.samples(uri, name, config)]
    assert others == 0 and [sample.image for sample in read] == (images(2) if found else [])
    assert [sample.values for sample in read] == [{"cls": "nv"}] * len(read)


def test_what_is_a_shard_and_what_holds_some(tmp_path: Path) -> None:
    shard = Path(tar_of(tmp_path / "train.tar", ("a.png", b"a")))
    bare = str(shutil.copy(shard, tmp_path / "shard"))
    held = zip_of(tmp_path / "all.zip", ("in/train.tar", shard.read_bytes()), ("readme.txt", b""))
    assert webdataset.shards(bare) == ({"shard": bare}, 0) and webdataset.shards(str(shard))[0] == {
        "train.tar": str(shard)
    }
    assert webdataset.shards(held) == ({"in/train.tar": f"{held}/in/train.tar"}, 1)


def test_images_lie_in_the_archives_that_were_published(tmp_path: Path, put: Put) -> None:
    source = pad(tmp_path / "in")
    expected = looked_at(pad_rows(str(source), PARTS))
    pictures = sorted((source / "imgs_part_1").iterdir())
    zip_of(source / "imgs_part_1.zip", *((f"imgs_part_1/{p.name}", p.read_bytes()) for p in pictures))
    pictures = sorted((source / "imgs_part_2").iterdir())
    tar_of(source / "imgs_part_2.tar.gz", *((p.name, p.read_bytes()) for p in pictures))
    for part in ("imgs_part_1", "imgs_part_2"):
        shutil.rmtree(source / part)
    place = put(source)
    if place.endswith(".zip"):  # `pack` compresses: the archives in it cannot be read
        with pytest.raises(ValueError, match="compressed in another archive"):
            pad_rows(place, ["imgs_part_1.zip", "imgs_part_2.tar.gz"])
    else:
        assert looked_at(pad_rows(place, ["imgs_part_1.zip", "imgs_part_2.tar.gz"])) == expected


def test_damaged_images_of_an_archive_in_s3_end_no_job(bucket: str, tmp_path: Path) -> None:
    pictures = images(3)
    zip_of(tmp_path / "x.zip", *((f"nv/{i}.png", image) for i, image in enumerate(pictures)))
    data = (tmp_path / "x.zip").read_bytes()
    storage.write_bytes(f"{bucket}/x.zip", data.replace(pictures[1][-40:], bytes(40)))
    uri = f"{bucket}/x.zip"
    found = looked_at(list(class_folders.rows_of(uri, files(uri), class_folders.Told())))
    assert [row[4] for row in found.values()] == ["ok", "failed", "ok"]
    assert found["nv/1.png"][5].startswith("image file unreadable: damaged in its archive")


def test_requests_for_images_of_an_archive_in_s3(
    s3_server: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {f"in/{i}.png": os.urandom(20_000) for i in range(200)}
    for name, packed in (("x.zip", zip_of), ("x.tar", tar_of), ("x.tgz", tar_of)):
        archive = Path(packed(tmp_path / name, *pictures.items()))
        storage.write_bytes(f"{bucket}/{name}", archive.read_bytes())
        proxy, size = CountingProxy(s3_server), archive.stat().st_size
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        uri = f"{bucket}/{name}"
        assert len(list(files(uri))) == 200
        index_bytes, index_requests = proxy.answered, proxy.count("GET /") + proxy.count("HEAD /")
        # a zip's directory is 70 bytes a file; a tar has none: all of it passes once, packed twice, in large requests
        most = {"x.zip": 30_000, "x.tar": 1.01 * size, "x.tgz": 2.02 * size}[name]
        assert index_bytes < most + 10_000 and index_requests <= 12
        paths._opened.cache_clear()  # as another process of this node
        for image in ("in/7.png", "in/150.png", "in/3.png"):
            assert storage.read_bytes(f"{uri}/{image}") == pictures[image]
        read = proxy.answered - index_bytes
        if name == "x.tgz":
            assert read < 1.01 * size, "from the nearest state before it, here the start"
        else:
            assert read < 3 * 22_000 and proxy.count("GET /") + proxy.count("HEAD /") - index_requests <= 4
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)


@pytest.mark.slow
def test_ingest_of_an_archive_in_s3_as_of_a_folder(s3_server: str, bucket: str, tmp_path: Path) -> None:
    pictures = {f"{('mel', 'nv')[i % 2]}/{i}.png": image for i, image in enumerate(images(60))}
    packed = Path(zip_of(tmp_path / "x.zip", *pictures.items()))
    storage.write_bytes(f"{bucket}/x.zip", packed.read_bytes())
    source, results = tree(tmp_path / "in", **pictures), list[dict[str, Any]]()
    proxy = CountingProxy(s3_server)
    with ray_of_its_own(**s3_environment(proxy.url), DERMRAY_CACHE=str(tmp_path / "node")):
        for path in (str(source), f"{bucket}/x.zip"):
            given = {"source": "folder", "path": path, "malignant_classes": ["mel"], "benign_classes": ["nv"]}
            output = str(tmp_path / f"out{len(results)}")
            result = ingest.run(validate(ingest.IngestConfig, {"output": output, "sources": [given]}))
            read = read_columns(f"{result.data}/rows", ["source_id", "sample_id", "malignant", "split", "status"])
            results.append({row["source_id"]: row for row in read.to_pylist()})
    assert results[0] == results[1] and len(results[0]) == 60
    assert proxy.answered < 1.5 * packed.stat().st_size
