"""The search for near duplicates by a network's features: against a look at every pair, and on real photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.gate_recall import LITE0
from benchmarks.near_duplicate_recall import cropped
from dermray.config import ConfigError, validate
from dermray.datasets import embedded_duplicates, ingest
from dermray.datasets.embedded_duplicates import Features, find, look_alikes
from dermray.datasets.embedding import COLUMNS, _Embed, features_of, thumbnail
from dermray.datasets.embedding_settings import EmbeddingSearch, messages, settled
from dermray.datasets.ingest import IngestConfig
from dermray.exactly_once import hashes, joined
from dermray.features.extractor import open_extractor


def made(count: int, pairs: int, seed: int = 0) -> Features:
    """Random images, of which the first `pairs` come again, a little changed and turned, after them."""
    rng = np.random.default_rng(seed)
    vectors, pictures = rng.normal(size=(count, 40)), rng.integers(20, 230, (count, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
    copies = vectors[:pairs] + 0.3 * rng.normal(size=(pairs, 40))
    turned = np.rot90(pictures[:pairs], 1, (2, 3)) + rng.integers(-4, 5, (pairs, 3, 16, 16))
    vectors, pictures = np.concatenate([vectors, copies]), np.concatenate([pictures, turned])
    whole = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return Features(np.arange(len(whole), dtype=np.uint64), whole, pictures.astype(np.uint8), "hash")


@pytest.mark.parametrize("at_once", [7, 4096])
def test_pairs_are_those_of_a_look_at_every_pair(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(embedded_duplicates, "QUERIES", at_once)
    features = made(200, 30)
    features.thumbnails[215:230] = features.thumbnails[100:115]  # near features, another picture
    links, crowded = look_alikes(features, 0.15)
    vectors = features.vectors.astype(float)
    near = np.argwhere(np.triu(1 - vectors @ vectors.T <= 0.15, 1))
    assert {tuple(pair) for pair in near.tolist()} == {(i, 200 + i) for i in range(30)}, "the test is one"
    assert links.tolist() == [[i, 200 + i] for i in range(15)] and crowded == (0, 0)


def test_clusters_find_planted_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermray.synthesis.gate.index.FLAT_UP_TO", 500)
    links, _ = look_alikes(made(3000, 200), 0.15)
    assert len(links) >= 195 and {i + 3000 for i in links[:, 0].tolist()} == set(links[:, 1].tolist())


def test_a_crowd_is_joined_and_what_was_not_compared_is_counted() -> None:
    features = made(100, 0)
    features.vectors[:] = features.vectors[0]
    features.thumbnails[:] = features.thumbnails[0]
    links, counts = look_alikes(features, 0.15)
    assert set(links.ravel().tolist()) == set(range(100)) and counts == (100, 100)
    [_, warning] = messages({"pairs": len(links), "images": 100, "crowded": counts.crowded})
    assert warning.startswith("warning: 100 images have more neighbours")


def test_rows_are_named_and_none_is_no_error(tmp_path: Path) -> None:
    features, names = made(20, 2), np.array([2**63 + i for i in range(22)], np.uint64)
    columns = [pa.array(names), pa.array(["hash"] * 22), pa.array([v.tobytes() for v in features.vectors]),
               pa.array([t.tobytes() for t in features.thumbnails])]  # fmt: skip
    table = pa.table(columns, COLUMNS)
    for number, part in enumerate((table.slice(0, 9), table.slice(9))):
        pq.write_table(part, tmp_path / f"{number}.parquet")
    found = find(str(tmp_path), 0.15)
    assert found.pairs.tolist() == [[2**63, 2**63 + 20], [2**63 + 1, 2**63 + 21]]
    expected = {"images": 22, "pairs": 2, "exact": True, "extractor_hash": "hash", "cut": 0, "crowded": 0}
    assert found.facts == expected
    (tmp_path / "none").mkdir()
    pq.write_table(table.slice(0, 0), tmp_path / "none" / "0.parquet")
    assert len(find(str(tmp_path / "none"), 0.15).pairs) == 0


@pytest.mark.slow  # 60 images through EfficientNet-Lite0
def test_crops_of_photographs_are_found_and_others_are_not(shared: Path) -> None:
    files = sorted((shared / "ham10000_nc_subset" / "images").iterdir())[:30]
    originals = [Image.open(file).convert("RGB") for file in files]
    rng, extractor = np.random.default_rng(0), open_extractor(LITE0)
    images = originals + [cropped(image, rng) for image in originals]
    vectors = np.stack([features_of(extractor, image) for image in images])
    small = np.frombuffer(b"".join(map(thumbnail, images)), np.uint8).reshape(-1, 3, 16, 16)
    links, _ = look_alikes(Features(np.arange(60, dtype=np.uint64), vectors, small, ""), SEARCH.max_distance)
    pairs = {tuple(link) for link in links.tolist()}
    expected = {(i, i + 30) for i in range(30)}
    assert len(pairs & expected) >= 24 and not pairs - expected


SEARCH = EmbeddingSearch(extractor=LITE0)


@pytest.mark.slow
def test_a_block_becomes_a_row_for_each_usable_image(shared: Path) -> None:
    data = next((shared / "ham10000_nc_subset" / "images").iterdir()).read_bytes()
    rows = pa.table({"source": ["c"] * 3, "source_id": ["a", "b", "c"], "status": ["ok", "failed", "ok"],
                     "image": [data, None, data]})  # fmt: skip
    embed = _Embed(SEARCH)
    made = embed(rows)
    assert made["name"].to_pylist() == hashes(joined(rows, ("source", "source_id")))[[0, 2]].tolist()
    assert made["vector"][0] == made["vector"][1] and len(made["vector"][0].as_py()) == 2 * 1280
    assert made["extractor"].to_pylist() == [embed.extractor.hash] * 2
    assert embed(rows.slice(1, 1)).schema == made.schema, "a block without a usable image"


def config(**search: Any) -> IngestConfig:
    given = {"output": "o", "sources": [{"source": "folder", "path": "p"}], "near_duplicates": search}
    return validate(IngestConfig, given)


def test_what_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"near_duplicates.extractor.kind=judge: nothing has trained one"):
        config(extractor={})
    with pytest.raises(ConfigError, match=r"near_duplicates.extractor: missing"):
        config()
    gone = config(extractor={"kind": "timm", "name": "tf_efficientnet_lite0", "weights": str(tmp_path / "gone.pth")})
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        settled(gone.near_duplicates)
    known = settled(SEARCH)
    assert known is not None and known.extractor.revision, "the weights' fingerprint becomes part of the config"


@pytest.mark.slow
def test_an_ingest_joins_crops_and_known_duplicates(local_ray: None, shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "ham10000_nc_subset" / "images").iterdir())[:12]
    for number, file in enumerate(files):
        folder = tmp_path / "data" / ("mel" if number % 2 else "nv")
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.open(file).convert("RGB")
        image.save(folder / f"{number}.png")
        if number < 2:  # off its right and lower sides
            crop = (0, 0, round(0.95 * image.width), round(0.95 * image.height))
            image.crop(crop).save(folder / f"{number}_crop.png")
    (tmp_path / "known.csv").write_text("a,b\n4.jpg,nowhere\n6,8.jpg\n")
    source = {
        "source": "folder",
        "path": str(tmp_path / "data"),
        "malignant_classes": ["mel"],
        "benign_classes": ["nv"],
    }
    search = {"extractor": LITE0.model_dump(exclude_none=True)}
    given = {"output": str(tmp_path / "out"), "sources": [source], "known_duplicates": [str(tmp_path / "known.csv")]}
    result = ingest.run(validate(IngestConfig, {**given, "near_duplicates": search}))
    table = pq.read_table(f"{result.data}/rows", columns=["source_id", "leak_group"]).to_pylist()
    groups = {Path(row["source_id"]).stem: row["leak_group"] for row in table}
    assert groups["0"] == groups["0_crop"] and groups["1"] == groups["1_crop"] and groups["6"] == groups["8"]
    assert len(set(groups.values())) == 14 - 3
    facts = result.manifest.metrics
    assert facts["near_duplicates"]["images"] == 14 and facts["near_duplicates"]["pairs"] == 2
    assert facts["near_duplicates"]["extractor_hash"] == open_extractor(LITE0).hash
    assert (
        facts["known_duplicates"][0]["names_without_row"] == 1 and facts["known_duplicates"][0]["lines_that_join"] == 1
    )
    assert not (Path(result.data) / "embedded").exists()
