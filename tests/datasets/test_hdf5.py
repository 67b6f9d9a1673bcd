"""Images out of an HDF5 file, as ISIC 2024 is published."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pytest

from dermray import storage
from dermray.archives import filesystem
from dermray.datasets import hdf5
from dermray.records import IMAGES, conform
from tests.archives.packing import tar_of, zip_of
from tests.datasets.published import ISIC_2024, by_id, rows_of, write
from tests.datasets.test_isic_2024 import images, line, table


def arrow(read: list[dict[str, Any]]) -> pa.Table:
    uris = [row.pop("uri", None) for row in read]
    return conform(read, IMAGES).append_column("uri", pa.array(uris, pa.string()))


def test_images_come_out_of_the_file_byte_for_byte_and_a_missing_one_fails_its_row(tmp_path: Path) -> None:
    told = images(table(tmp_path))
    read = arrow(rows_of("isic_2024", tmp_path))
    done = by_id(hdf5.with_images(read, str(tmp_path / "train-image.hdf5")).to_pylist())
    assert {name: row["image"] for name, row in done.items() if row["image"]} == told
    lost = done["ISIC_0015864"]
    assert lost["status"] == "failed" and lost["reason"].startswith("image missing from HDF5 file @ ")
    assert {row["uri"] for row in done.values()} == {None} and len(done) == 4
    assert read.schema == hdf5.with_images(read, str(tmp_path / "train-image.hdf5")).schema


def test_images_of_an_hdf5_file_in_s3_are_read_where_they_lie(bucket: str, tmp_path: Path) -> None:
    told = images(tmp_path)
    storage.write_bytes(f"{bucket}/train-image.hdf5", (tmp_path / "train-image.hdf5").read_bytes())
    assert hdf5.count(f"{bucket}/train-image.hdf5") == 3
    with hdf5.opened(f"{bucket}/train-image.hdf5") as file:
        assert {name: hdf5.encoded(file, name) for name in told} == told and hdf5.encoded(file, "ISIC_9") is None


def test_images_of_an_hdf5_file_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    told, data = images(tmp_path), (tmp_path / "train-image.hdf5").read_bytes()
    stored = zip_of(tmp_path / "stored.zip", ("in/x.hdf5", data))
    packed = zip_of(tmp_path / "packed.zip", ("in/x.hdf5", data), method=zipfile.ZIP_DEFLATED)
    for archive in (stored, packed, tar_of(tmp_path / "x.tar.gz", ("in/x.hdf5", data))):
        assert hdf5.count(f"{archive}/in/x.hdf5") == 3
        with hdf5.opened(f"{archive}/in/x.hdf5") as file:
            assert {name: hdf5.encoded(file, name) for name in told} == told
    monkeypatch.setattr(filesystem, "WHOLE", 100)
    assert hdf5.count(f"{stored}/in/x.hdf5") == 3
    with pytest.raises(ValueError, match=r"in/x.hdf5: compressed in its archive, .* unpack it, or pack"):
        hdf5.count(f"{packed}/in/x.hdf5")


def test_a_group_in_an_images_place_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    table(tmp_path)
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        file.create_group("ISIC_0015670")
    read = arrow(rows_of("isic_2024", tmp_path))
    [first, *_] = hdf5.with_images(read, str(tmp_path / "train-image.hdf5")).to_pylist()
    assert first["status"] == "failed" and first["reason"].startswith("image unreadable in HDF5 file: ")


def test_a_row_that_its_source_gave_up_is_not_looked_for(tmp_path: Path) -> None:
    images(tmp_path)
    write(tmp_path, isic_2024=ISIC_2024 + line("ISIC_0015670", "1", "Malignant::Unheard of"))
    [row] = hdf5.with_images(arrow(rows_of("isic_2024", tmp_path)), str(tmp_path / "train-image.hdf5")).to_pylist()
    assert row["status"] == "rejected" and row["image"] is None
