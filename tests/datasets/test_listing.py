"""Every file has a row or a reason: on local disk and in S3."""

import os
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dermray import s3, storage
from dermray.datasets.listing import File, files, level

REASONS = {
    "mel/a.jpg": None,
    "mel/B.JPEG": None,
    "mel/c.jfif": None,
    "mel/d.webp": None,
    "mel/e.TIF": None,
    "mel/no-extension": None,
    "mel/_DSC0001.JPG": None,
    "mel/what is it?.png": None,
    "mel/#1 100% + more & so.png": None,
    "mel/Größe.png": None,
    "root.bmp": None,
    "Thumbs.db": None,  # no name that Python knows: its content decides
    "empty.png": None,
    "clinic/IM_0001.dcm": None,
    "clinic/1.2.840.113619.2.55.3": None,  # as archives name DICOM files
    "metadata.CSV": "no image by its name (.csv)",
    "notes.txt": "no image by its name (.txt)",
    "all.zip": "no image by its name (.zip)",
    ".DS_Store": "hidden file or folder",
    "mel/._a.jpg": "hidden file or folder",
    ".ipynb_checkpoints/a.png": "hidden file or folder",
    "_left_out/a.png": "in a folder whose name begins with _",
}


def listed(uri: str) -> dict[str, str | None]:
    found = list(files(uri))
    assert len({file.name for file in found}) == len(found)
    return {file.name: file.reason for file in found}


def test_every_file_is_listed_and_read_by_its_name(place: str) -> None:
    for name in REASONS:
        storage.write_bytes(storage.join(place, name), name.encode())
    assert listed(place) == REASONS
    for name, reason in REASONS.items():
        if reason is None:
            assert storage.read_bytes(storage.join(place, name)) == name.encode()


def test_names_that_no_s3_path_may_have(bucket: str) -> None:
    import boto3

    client, name = boto3.client("s3", region_name="us-east-1"), bucket.removeprefix("s3://")
    for key in ("in/mel/", "in/mel/a.jpg", "in//b.jpg", "in/mel/../c.jpg", "inside/other.jpg"):
        client.put_object(Bucket=name, Key=key, Body=b"x")
    wrong = "unreadable name: empty, . or .. between slashes"
    assert listed(f"{bucket}/in") == {"mel/a.jpg": None, "/b.jpg": wrong, "mel/../c.jpg": wrong}


def sharded(uri: str, levels: int) -> list[File]:
    """The files of a place where the folders so many levels down are listed each by itself."""
    found, folders = list[File](), [""]
    for _ in range(levels):
        entries = [entry for folder in folders for entry in level(uri, folder)]
        found += [entry for entry in entries if isinstance(entry, File)]
        folders = [entry for entry in entries if isinstance(entry, str)]
    return found + [file for folder in folders for file in files(uri, folder)]


NAMES = ["a", "b", "c.jpg", "d.png", ".e", "_f", "train", "\xe9 ?#"]
TREES = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map("/".join), max_size=8)


def assert_shards_are_the_whole(uri: str) -> None:
    whole = Counter(files(uri))
    for levels in (1, 2):
        assert Counter(sharded(uri, levels)) == whole


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=TREES, links=st.lists(st.tuples(st.sampled_from(NAMES), TREES), max_size=3), empty=TREES)
def test_shards_of_a_disk_are_the_whole(
    tmp_path: Path, names: list[str], links: list[tuple[str, list[str]]], empty: list[str]
) -> None:
    root = tmp_path / uuid.uuid4().hex
    root.mkdir()
    for name in [*names, *(f"{name}/" for name in empty)]:
        if not any((root / part).is_file() for part in [name, *map(str, Path(name).parents)]):
            (root / name if name.endswith("/") else (root / name).parent).mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                (root / name).write_bytes(b"x")
    for name, targets in links:  # to folders, files and nothing, to where they lie in and to each other
        for folder in [root, *(path for path in root.iterdir() if path.is_dir())]:
            link = folder / f"link {name}"
            if not link.is_symlink():
                link.symlink_to(root / (targets[0] if targets else ""))
    assert_shards_are_the_whole(str(root))


KEYS = st.lists(st.lists(st.sampled_from([*NAMES, "", "..", "."]), min_size=1, max_size=5).map("/".join), max_size=8)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS)
def test_shards_of_a_bucket_are_the_whole(bucket: str, keys: list[str]) -> None:
    client, inside = s3.clients(bucket)[0], uuid.uuid4().hex
    for key in keys:
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"{inside}/{key}", Body=b"x")
    assert sum(not key.endswith("/") and key != "" for key in set(keys)) == len(list(files(f"{bucket}/{inside}")))
    assert_shards_are_the_whole(f"{bucket}/{inside}")


def test_links_pipes_and_names_of_another_encoding(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / "mel", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
    (root / "linked").symlink_to(elsewhere)
    (root / "b.jpg").symlink_to(elsewhere / "a.jpg")
    (root / "gone.jpg").symlink_to(tmp_path / "gone")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "mel" / "up").symlink_to(root)
    os.mkfifo(root / "pipe.jpg")
    (Path(os.fsdecode(bytes(root) + b"/gr\xf6\xdfe.jpg"))).write_bytes(b"x")
    with (root / "film.jpg").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert listed(str(root)) == {
        "mel/a.jpg": None,
        "linked/a.jpg": None,
        "b.jpg": None,
        "gone.jpg": "file unreadable: No such file or directory",
        "self.jpg": "file unreadable: Too many levels of symbolic links",
        "mel/up": "link to a folder that it lies in",
        "pipe.jpg": "no regular file",
        "gr\\xf6\\xdfe.jpg": "name is not UTF-8: rename the file",
        "film.jpg": "larger than 1 GiB",
    }


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mel").mkdir()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(str(tmp_path)) == {"": "folder unreadable: Permission denied"}
