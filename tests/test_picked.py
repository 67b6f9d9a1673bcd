"""Some rows' images: the same rows as by reading all, and hardly more bytes than their images have."""

import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dermray import storage
from dermray.captioning import asking, summary
from dermray.captioning.audit import run as audit
from dermray.captioning.audit.run import AuditConfig
from dermray.classification.pools import read_pool
from dermray.classification.targets import Target
from dermray.datasets.decode import decode, square
from dermray.datasets.pixels import pixels
from dermray.evaluation import samples
from dermray.evaluation.settings import EvaluationConfig
from dermray.manifest import Manifest, Result, Rows
from dermray.page_index import write_options
from dermray.picked import FILE, images, least, pick, take, with_images
from dermray.records import SYNTHETIC, conform, read_columns, sample_id
from dermray.row_files import RowFiles
from dermray.synthesis import report_block
from dermray.synthesis.gate import calibrating
from dermray.training import encode
from tests.proxies import CountingProxy

OK = pc.field("status") == "ok"
SIDE = 352  # px: noise of it has 372 kB as PNG, against which the ends of files, 128 kB each, are little


@functools.cache
def png(number: int, side: int = SIDE) -> bytes:
    pixels, encoded = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=0)
    return encoded.getvalue()


def row(number: int) -> dict[str, Any]:
    image = png(number)
    return {
        "sample_id": sample_id(image), "image": image, "width": SIDE, "height": SIDE, "source_id": f"{number}",
        "split": ("train", "val", "test")[number % 3], "status": "ok" if number % 10 else "rejected", "origin": "real",
        "malignant": number % 2 == 0, "leak_group": f"{number}", "skin_tone": "A", "caption": f"caption {number}",
        "answer": f"answer {number}",
    }  # fmt: skip


def write(uri: str, rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Three files."""
    storage.make_directory(uri)
    system, path = storage.filesystem(uri)
    for number in range(3):
        table = conform(rows[number::3], SYNTHETIC)
        pq.write_table(table, f"{path}/{number}.parquet", filesystem=system, **options)


def result(uri: str, stage: str, rows: list[dict[str, Any]]) -> Result:
    write(f"{uri}/data/rows", rows, write_options(SYNTHETIC))
    counts = Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0)
    config = {"prompt_set": "abc"}
    return Result(uri, Manifest(stage=stage, key="k", config=config, inputs={}, data="data", rows=counts,
                                versions={}, started=0, seconds=0, cpus=1, gpus=0))  # fmt: skip


@pytest.fixture(params=["local", "s3"])
def counted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Callable[[], int]]:
    """A place, and how many bytes were read by now: from files by this process, from S3 through a proxy."""
    if request.param == "local":
        return str(tmp_path), lambda: int(Path("/proc/self/io").read_text().split()[1])
    bucket, proxy = request.getfixturevalue("bucket"), CountingProxy(request.getfixturevalue("s3_server"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return bucket, lambda: proxy.answered


def test_no_reader_reads_more_than_twice_the_images_that_it_uses(
    counted: tuple[str, Callable[[], int]],
) -> None:
    place, read = counted
    rows = [row(i) for i in range(60)]
    for i, each in enumerate(rows):
        each["prompt_sample_id"], each["nearest_sample_id"] = (rows[(i + n) % 60]["sample_id"] for n in (1, 2))
    found = result(f"{place}/a", "caption", rows)
    other = result(f"{place}/b", "caption", rows[20:])
    by_id = sorted(rows, key=lambda each: str(each["sample_id"]))
    ok = [each for each in by_id if each["status"] == "ok"]

    def of(split: str) -> list[dict[str, Any]]:
        return [each for each in ok if each["split"] == split]

    def ids(used: list[dict[str, Any]]) -> list[str]:
        return [each["sample_id"] for each in used]

    def calibration() -> list[dict[str, Any]]:
        table = calibrating.held_out(found.row_files(), 6)
        used = [each for each in ok if each["split"] != "train"][:9]
        assert np.array_equal(pixels(table, 64), [square(decode(each["image"]), 64) for each in used])
        return used

    def evaluation() -> list[dict[str, Any]]:
        config = EvaluationConfig(output="o", rows="r", synthetic="s", max_images=10)
        sample = samples.training_sample(found, config, 64)
        used = of("train")[:10]
        assert np.array_equal(sample.images, [square(decode(each["image"]), 64) for each in used])
        return used

    def classification() -> list[dict[str, Any]]:
        used = of("test")[:4]
        table, _ = read_pool(found, OK & (pc.field("split") == "test"), Target.of("malignant"), 4)
        assert np.array_equal(pixels(table, SIDE), [square(decode(each["image"]), SIDE) for each in used])
        assert table["label"].to_pylist() == [each["malignant"] for each in used]
        return used

    def caption_page() -> list[dict[str, Any]]:
        end = summary.read(found.row_files())
        shown = summary.examples(end.good, summary.SHOWN) + summary.examples(end.bad, summary.SHOWN)
        used = ok[:12] + [each for each in by_id if each["status"] != "ok"][:6]
        assert [(each["sample_id"], each["answer"]) for each in shown] == [
            (each["sample_id"], each["answer"]) for each in used
        ]
        return used

    def run_page() -> list[dict[str, Any]]:
        shown = report_block.examples(found, found)
        assert ids(shown) == ids(ok[:3])
        used = [each[name] for each in ok[:3] for name in ("prompt_sample_id", "nearest_sample_id")]
        assert [each[name]["sample_id"] for each in shown for name in ("source", "nearest")] == used
        return ok[:3] + [each for each in rows if each["sample_id"] in used]

    def experts_page() -> list[dict[str, Any]]:
        config = AuditConfig(output="o", captions=["a"], images=11)
        shown = audit._shared([found, other], config)
        used = [each for each in ok if each in rows[20:]][:11]
        assert ids(shown) == ids(used) and all(each["answers"][0] == each["answers"][1] for each in shown)
        return used

    def validation() -> list[dict[str, Any]]:
        table = with_images(encode._first(found.row_files(), "val", 9))
        used = of("val")[:9]
        assert [(each["caption"], each["image"]) for each in table.to_pylist()] == [
            (each["caption"], each["image"]) for each in used
        ]
        return used

    def retry() -> list[dict[str, Any]]:
        table = pick(found.row_files(), ["source_id"], ~OK).rename_columns({FILE: "path"})  # as Ray names it
        used = [each for each in by_id if each["status"] != "ok"]
        assert asking._with_images(table)["image"].to_pylist() == [each["image"] for each in used]
        return used

    readers = (calibration, evaluation, classification, caption_page, run_page, experts_page, validation, retry)
    for reader in readers:
        reader()  # what it imports is not counted
        before = read()
        used = sum(len(each["image"]) for each in reader())
        assert 0.9 * used < read() - before < 2 * used, reader.__name__


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(["ok", "failed"]), st.sampled_from(["train", "val"])), min_size=3, max_size=60),
    st.none() | st.integers(0, 70),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_same_rows_as_by_reading_all(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    most: int | None,
    new: list[bool],
) -> None:
    """Whatever version of dermray wrote each file."""
    place = str(tmp_path_factory.mktemp("rows"))
    for number in range(3):
        made: list[dict[str, object]] = [
            {"sample_id": sample_id(b"%d" % i), "image": bytes([i]) * 40 * i, "status": status, "split": split}
            for i, (status, split) in enumerate(rows)
            if i % 3 == number
        ]
        options = write_options(SYNTHETIC) if new[number] else {}
        pq.write_table(conform(made, SYNTHETIC), f"{place}/{number}.parquet", **options)
    where = OK & (pc.field("split") == "val")
    expected = read_columns(place, ["sample_id", "image"], where).sort_by("sample_id").slice(0, most)
    picked = pick(place, ["split"], where, most)
    assert picked["sample_id"].to_pylist() == expected["sample_id"].to_pylist()
    assert take(picked) == expected["image"].to_pylist()


def test_what_is_held_does_not_grow_with_the_rows() -> None:
    most, held = 100, []

    def tables() -> Iterator[pa.Table]:
        before = pa.total_allocated_bytes()
        for number in range(200):
            yield pa.table({"sample_id": [sample_id(b"%d %d" % (number, i)) for i in range(500)]})
            held.append(pa.total_allocated_bytes() - before)

    assert len(least(tables(), most)) == most
    assert max(held) < 100 * 64 * 100, "of 100,000 ids"


def test_pixels_are_in_order(tmp_path: Path) -> None:
    rows = [row(i) | {"image": png(i, 16)} for i in range(30)]
    write(str(tmp_path), rows, write_options(SYNTHETIC))
    picked = pick(str(tmp_path), [], OK)
    by_id = {each["sample_id"]: each["image"] for each in rows}
    assert np.array_equal(pixels(picked, 8), [square(decode(by_id[s.as_py()]), 8) for s in picked["sample_id"]])
    assert pixels(picked.slice(0, 0), 8).shape == (0, 3, 8, 8)


def test_a_file_that_has_changed_and_a_row_without_image_are_said(tmp_path: Path) -> None:
    rows = [row(i) for i in range(6)]
    write(str(tmp_path), [*rows[:5], rows[5] | {"image": None}], write_options(SYNTHETIC))
    picked = pick(str(tmp_path), [], None)
    with pytest.raises(ValueError, match="row 1 of its file has no image"):
        take(picked)
    write(str(tmp_path), rows[3:], write_options(SYNTHETIC))
    with pytest.raises(ValueError, match=r"1 rows are missing that were there .*start again"):
        list(images(picked))


def test_rows_of_several_directories_are_one_table(place: str) -> None:
    """Of the later ones only rows with status ok."""
    write(f"{place}/own", [row(i) for i in range(9)], write_options(SYNTHETIC))
    write(f"{place}/kept", [row(i) for i in range(9, 22)], {})
    both = RowFiles(f"{place}/own", (f"{place}/kept",))
    table = read_columns(both, ["source_id"])
    assert sorted(map(int, table["source_id"].to_pylist())) == [i for i in range(22) if i not in (10, 20)]
    picked = pick(both, ["source_id"], pc.field("split") == "val")
    assert set(picked["source_id"].to_pylist()) == {"1", "4", "7", "13", "16", "19"}
    assert take(picked) == [png(int(number)) for number in picked["source_id"].to_pylist()]
