"""Files of archives as pyarrow and the libraries above it open them."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
from pyarrow import fs

from dermray import storage
from dermray.archives import filesystem
from dermray.archives.members import UnreadableMember
from tests.archives.packing import KINDS, pack, zip_of

DATA = os.urandom(100_000) + bytes(200_000)


@pytest.mark.parametrize("whole", [1 << 30, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_any_part_of_a_file_is_read(tmp_path: Path, kind: str, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "WHOLE", whole)  # larger ones are unpacked as they are read
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(DATA)
    system, path = storage.filesystem(f"{pack(tmp_path / 'in', tmp_path / kind)}/a.bin")
    with system.open_input_file(path) as file:
        assert file.size() == len(DATA)
        for start, count in ((200, 100), (250_000, 10), (0, 50), (len(DATA) - 5, 100)):
            file.seek(start)
            assert file.read(count) == DATA[start : start + count]
    with system.open_input_stream(path) as stream:
        assert stream.read() == DATA


def test_folders_are_listed_and_systems_travel_to_workers(tmp_path: Path) -> None:
    uri = zip_of(tmp_path / "x.zip", ("in/a.bin", b"12"), ("in/deep/b.bin", b"1"), ("c.bin", b"1"))
    system, path = storage.filesystem(f"{uri}/in")
    sent = pickle.loads(pickle.dumps(system))
    assert sent == system
    found = sent.get_file_info(fs.FileSelector(path))
    assert {(entry.path, entry.type, entry.size) for entry in found} == {
        ("in/a.bin", fs.FileType.File, 2), ("in/deep", fs.FileType.Directory, None),
    }  # fmt: skip
    assert [e.path for e in sent.get_file_info(fs.FileSelector(path, recursive=True))] == ["in/a.bin", "in/deep/b.bin"]
    assert sent.get_file_info(fs.FileSelector("none", allow_not_found=True)) == []
    with pytest.raises(FileNotFoundError, match="no such folder in the archive"):
        sent.get_file_info(fs.FileSelector("none"))


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    zip_of(path, ("t.csv", b"a,b\n" * 100), method=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    system, inner = storage.filesystem(f"{path}/t.csv")
    with pytest.raises(UnreadableMember, match=r"x.zip/t.csv: damaged in its archive"):
        system.open_input_file(inner)
