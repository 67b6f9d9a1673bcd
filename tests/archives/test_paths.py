"""Paths through archives."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dermray import storage
from dermray.archives import index, paths
from dermray.archives.members import DamagedArchive
from dermray.datasets.listing import files
from dermray.stores import Ranges
from tests.archives.packing import KINDS, pack, tar_of, zip_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("nv/a.jpg", "mel/deep/b.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(name.encode())
    return tmp_path / "in"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_stands_where_a_folder_would(tree: Path, tmp_path: Path, kind: str) -> None:
    uri = str(pack(tree, tmp_path / kind))
    assert paths.parted(uri) == paths.parted(uri + "/") == (uri, "") and paths.member_of(uri) is None
    assert paths.member_of(f"{uri}/nv/a.jpg") == (uri, "nv/a.jpg")
    assert storage.exists(uri) and not storage.is_directory(uri), "by itself it is a file"
    there = ("nv", "nv/a.jpg", "mel/deep", "nv/", "none.jpg", "nv/a.jp")
    assert [storage.exists(f"{uri}/{name}") for name in there] == [True, True, True, True, False, False]
    assert [storage.is_directory(f"{uri}/{name}") for name in there] == [True, False, True, True, False, False]
    with pytest.raises(FileNotFoundError, match=r"none.jpg: no such file in"):
        storage.read_bytes(f"{uri}/none.jpg")
    assert not storage.is_local(f"{uri}/nv/a.jpg") and storage.is_local(uri)


def test_a_folder_may_be_called_like_an_archive(tree: Path, tmp_path: Path) -> None:
    folder = tree.rename(tmp_path / "data.zip")
    assert paths.parted(f"{folder}/nv/a.jpg") is None and storage.read_bytes(f"{folder}/nv/a.jpg") == b"nv/a.jpg"
    assert {file.name for file in files(str(folder))} == {"nv/a.jpg", "mel/deep/b.jpg"}
    assert storage.is_local(f"{folder}/nv/a.jpg")


def test_archives_in_archives(tree: Path, tmp_path: Path) -> None:
    inner = {kind: pack(tree, tmp_path / kind).read_bytes() for kind in KINDS}
    named = [(f"parts/{kind}", data) for kind, data in inner.items()]
    for outer in (zip_of(tmp_path / "all.zip", *named), tar_of(tmp_path / "all.tar", *named),
                  tar_of(tmp_path / "all.tgz", *named)):  # fmt: skip
        for kind in KINDS:
            uri = f"{outer}/parts/{kind}"
            assert {file.name for file in files(uri)} == {"nv/a.jpg", "mel/deep/b.jpg"}
            assert storage.read_bytes(f"{uri}/mel/deep/b.jpg") == b"mel/deep/b.jpg"
    packed = zip_of(tmp_path / "packed.zip", ("x.zip", inner["x.zip"]), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedArchive, match=r"packed.zip/x.zip: compressed in another .* unpack .*packed.zip once"):
        list(files(f"{packed}/x.zip"))


def test_a_new_file_of_the_same_name_is_seen(tmp_path: Path) -> None:
    uri = zip_of(tmp_path / "x.zip", ("a.jpg", b"old"))
    assert storage.read_bytes(f"{uri}/a.jpg") == b"old"
    zip_of(tmp_path / "x.zip", ("b.jpg", b"b"), ("a.jpg", b"newer"))
    assert storage.read_bytes(f"{uri}/a.jpg") == b"newer"


def test_many_threads_open_an_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {f"{i}.jpg": bytes([i]) * 1000 for i in range(100)}
    uri, of, made = zip_of(tmp_path / "x.zip", *images.items()), index.of, list[Ranges]()

    def counted(file: Ranges) -> index.Index:
        made.append(file)
        return of(file)

    monkeypatch.setattr(index, "of", counted)
    with ThreadPoolExecutor(32) as pool:
        read = dict(zip(images, pool.map(lambda name: storage.read_bytes(f"{uri}/{name}"), images), strict=True))
    assert read == images and len(made) == 1


def test_an_archive_of_one_folder_stands_for_it(tmp_path: Path) -> None:
    one = zip_of(tmp_path / "one.zip", ("imgs/a.png", b"a"), ("__MACOSX/imgs/._a.png", b""), (".DS_Store", b""))
    two = zip_of(tmp_path / "two.zip", ("imgs/a.png", b"a"), ("b.png", b"b"))
    assert paths.with_only_folder(one) == [one, f"{one}/imgs"] and paths.with_only_folder(two) == [two]
    assert paths.with_only_folder(f"{one}/imgs") == [f"{one}/imgs"]
    assert paths.with_only_folder(str(tmp_path)) == [str(tmp_path)]


@pytest.mark.parametrize("name", ["x.7z", "x.rar", "x.tar.bz2", "x.tar.xz"])
def test_other_archives_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"expected a folder, .zip, .tar or .tar.gz; pack it anew"):
        storage.readable(tmp_path / name)
    (tmp_path / "folder.7z").mkdir()
    assert storage.readable(tmp_path / "folder.7z") == str(tmp_path / "folder.7z")


def test_nothing_is_written_into_an_archive(tmp_path: Path) -> None:
    uri = zip_of(tmp_path / "x.zip", ("a.jpg", b"a"))
    system, path = storage.filesystem(f"{uri}/b.jpg")
    with pytest.raises(OSError, match="files in archives are read only; choose another place to write to"):
        system.open_output_stream(path)
