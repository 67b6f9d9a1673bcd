"""Tar archives, plain and gzipped."""

import os
import tarfile
from pathlib import Path

import pytest

from dermray import storage
from dermray.archives import tars
from dermray.archives.members import DamagedArchive, UnreadableMember
from dermray.datasets.listing import files
from tests.archives.packing import tar_of

DATA = os.urandom(5000)


def listed(uri: str) -> dict[str, str | None]:
    return {file.name: file.reason for file in files(uri)}


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_links_stand_for_their_files_and_what_is_no_file_has_a_reason(tmp_path: Path, name: str) -> None:
    uri = tar_of(
        tmp_path / name,
        ("nv/a.jpg", DATA),
        (entry("mel/hard.jpg", tarfile.LNKTYPE, "nv/a.jpg"), b""),
        (entry("mel/soft.jpg", tarfile.SYMTYPE, "../nv/a.jpg"), b""),
        (entry("mel/twice.jpg", tarfile.SYMTYPE, "soft.jpg"), b""),
        (entry("mel/out.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (entry("mel/up.jpg", tarfile.SYMTYPE, "../../a.jpg"), b""),
        (entry("mel/itself.jpg", tarfile.SYMTYPE, "itself.jpg"), b""),
        (entry("mel/pipe.jpg", tarfile.FIFOTYPE), b""),
        (entry("mel/folder", tarfile.DIRTYPE), b""),
        ("x" * 300 + ".jpg", DATA),
        ("../up.jpg", DATA),
        ("nv/a.jpg", DATA[::-1]),
    )
    (tmp_path / "a.jpg").write_bytes(b"outside")
    no_file, unreadable = "link to what is no file of its archive", "unreadable name: empty, . or .. between slashes"
    assert listed(uri) == {
        "nv/a.jpg": None, "nv/a.jpg (entry 1)": "replaced by a later file of this name in its archive",
        "mel/hard.jpg": None, "mel/soft.jpg": None, "mel/twice.jpg": None, "mel/out.jpg": no_file,
        "mel/up.jpg": no_file, "mel/itself.jpg": no_file, "mel/pipe.jpg": "no regular file",
        "x" * 300 + ".jpg": None, "../up.jpg": unreadable,
    }  # fmt: skip
    assert {storage.read_bytes(f"{uri}/mel/{kind}.jpg") for kind in ("soft", "twice")} == {DATA[::-1]}
    assert storage.read_bytes(f"{uri}/{'x' * 300}.jpg") == DATA
    with pytest.raises(UnreadableMember, match="no file of its archive"):
        storage.read_bytes(f"{uri}/mel/out.jpg")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7])
def test_an_archive_that_ends_early_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    tar_of(path, *((f"{i}.jpg", os.urandom(3000)) for i in range(9)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DamagedArchive, match="no tar archive, or not whole .* download it again"):
        listed(str(path))


def test_a_damaged_header_does_not_end_the_archive_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    tar_of(path, *((f"{i}.jpg", DATA) for i in range(9)))
    data = bytearray(path.read_bytes())
    data[data.index(b"5.jpg")] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match="damaged header or no end mark at byte"):
        listed(str(path))


def test_a_gzipped_archive_is_damaged_where_its_checksum_differs(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    tar_of(path, *((f"{i}.jpg", os.urandom(3000)) for i in range(9)))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match="download it again"):
        listed(str(path))


def test_any_file_of_a_gzipped_archive_is_unpacked_from_near_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "SPACING", 1 << 16)
    images = {f"{i}.jpg": os.urandom(9000) for i in range(200)}
    uri = tar_of(tmp_path / "x.tgz", *images.items())
    from dermray.archives import paths

    archive = paths.opened(uri)
    assert len(archive.files.states) > 20 * 32768, "a state for each 64 KiB"
    for name in ("199.jpg", "0.jpg", "100.jpg", "3.jpg"):
        assert storage.read_bytes(f"{uri}/{name}") == images[name]
