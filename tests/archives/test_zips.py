"""Zip archives as their writers leave them, and as they get damaged."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from dermray import storage
from dermray.archives import paths
from dermray.archives.members import DamagedArchive, UnreadableMember
from dermray.datasets.listing import files
from tests.archives.packing import zip_of

DATA = os.urandom(3000) + b"a" * 3000


def listed(uri: str) -> dict[str, str | None]:
    return {file.name: file.reason for file in files(uri)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_is_read_however_it_is_compressed(tmp_path: Path, method: int) -> None:
    uri = zip_of(tmp_path / "x.zip", ("empty.png", b""), ("nv/a.jpg", DATA), method=method)
    assert storage.read_bytes(f"{uri}/nv/a.jpg") == DATA and storage.read_bytes(f"{uri}/empty.png") == b""


def test_a_header_longer_than_the_directory_says_is_no_damage(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.jpg")
    info.extra = b"\xfe\xca" + (2000).to_bytes(2, "little") + bytes(2000)
    path = tmp_path / "x.zip"
    zip_of(path, (info, DATA))
    data = path.read_bytes()
    directory = data.rindex(b"PK\x01\x02")
    cut = data[: directory + 30] + b"\0\0" + data[directory + 32 : directory + 51] + data[directory + 2051 + 4 :]
    end = cut.rindex(b"PK\x05\x06")
    path.write_bytes(cut[: end + 12] + (end - directory).to_bytes(4, "little") + cut[end + 16 :])
    assert storage.read_bytes(f"{path}/a.jpg") == DATA


def test_names_that_no_folder_has_are_rows_with_a_reason(tmp_path: Path) -> None:
    names = ["/etc/a.jpg", "../b.jpg", "nv/../c.jpg", "nv//d.jpg", "__MACOSX/nv/._e.jpg", ".DS_Store", "./nv/f.jpg"]
    uri = zip_of(tmp_path / "x.zip", ("nv/", b""), ("empty/", b""), *((name, DATA) for name in names))
    wrong = "unreadable name: empty, . or .. between slashes"
    assert listed(uri) == {
        **dict.fromkeys(["/etc/a.jpg", "../b.jpg", "nv/../c.jpg", "nv//d.jpg"], wrong),
        "__MACOSX/nv/._e.jpg": "hidden file or folder", ".DS_Store": "hidden file or folder", "nv/f.jpg": None,
    }  # fmt: skip
    (tmp_path / "b.jpg").write_bytes(DATA)
    assert storage.read_bytes(f"{uri}/nv/f.jpg") == DATA


def test_accents_and_backslashes_of_any_writer(tmp_path: Path) -> None:
    mac, windows, old = zipfile.ZipInfo("Gro\u0308ße/ä.jpg"), zipfile.ZipInfo("dir/b.jpg"), zipfile.ZipInfo("ü.jpg")
    windows.create_system, windows.filename = 0, "dir\\b.jpg"
    path = tmp_path / "x.zip"
    zip_of(path, (mac, DATA), (windows, b"b"))
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # macOS writes UTF-8 and does not say so
        at = data.index(mark) + place
        assert data[at + 1] & 8
        data[at + 1] &= ~8
    path.write_bytes(data)
    assert listed(str(path)) == {"Gro\u0308ße/ä.jpg": None, "dir/b.jpg": None}
    assert storage.read_bytes(f"{path}/Gro\u0308ße/ä.jpg") == DATA and storage.read_bytes(f"{path}/dir/b.jpg") == b"b"
    zip_of(path, (old, b"old"))
    data = bytearray(path.read_bytes().replace("ü.jpg".encode(), b"\x81.jpg_"))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place + 1] &= ~8
    path.write_bytes(data)
    assert listed(str(path)) == {"ü.jpg_": None}, "cp437, as DOS had it"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "x.zip"
    zip_of(path, ("locked.jpg", DATA), ("odd.jpg", DATA), ("fine.jpg", DATA), (link, b"fine.jpg"))
    data = bytearray(path.read_bytes())
    directory = [i for i in range(len(data)) if data.startswith(b"PK\x01\x02", i)]
    data[directory[0] + 8] |= 1  # encrypted
    data[directory[1] + 10] = 9  # deflate64, as Windows writes large ones
    path.write_bytes(data)
    found = listed(str(path))
    assert found == {
        "locked.jpg": "encrypted in its archive",
        "odd.jpg": "compressed by method 9, expected stored, deflated, bzip2 or LZMA",
        "fine.jpg": None,
        "link.jpg": "link in a zip archive: unpack it, or write the file itself into the archive",
    }
    for name, reason in found.items():
        if reason:
            with pytest.raises(UnreadableMember, match=reason):
                storage.read_bytes(f"{path}/{name}")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_file_is_no_other_picture(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.zip"
    zip_of(path, ("a.jpg", DATA), ("b.jpg", DATA), method=method)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableMember, match="damaged in its archive"):
        storage.read_bytes(f"{path}/a.jpg")
    assert storage.read_bytes(f"{path}/b.jpg") == DATA
    data[data.rindex(b"PK\x03\x04")] = 0
    path.write_bytes(data)
    with pytest.raises(UnreadableMember, match="no header at byte"):
        storage.read_bytes(f"{path}/b.jpg")


def test_a_file_that_would_fill_memory_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = zip_of(tmp_path / "x.zip", ("bomb.jpg", bytes(5000)), method=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(paths, "LARGEST", 4999)
    with pytest.raises(UnreadableMember, match="larger than"):
        storage.read_bytes(f"{uri}/bomb.jpg")


def test_of_two_files_of_one_name_the_later_counts_and_both_are_listed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        uri = zip_of(tmp_path / "x.zip", ("a.jpg", b"old"), ("b.jpg", b"b"), ("a.jpg", b"new"))
    reason = "replaced by a later file of this name in its archive"
    assert listed(uri) == {"a.jpg": None, "b.jpg": None, "a.jpg (entry 1)": reason}
    assert storage.read_bytes(f"{uri}/a.jpg") == b"new"


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_an_archive_that_ends_early_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "x.zip"
    zip_of(path, *((f"{i}.jpg", DATA) for i in range(9)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DamagedArchive, match=r"x.zip: no zip archive, or not whole .* download it again"):
        listed(str(path))
