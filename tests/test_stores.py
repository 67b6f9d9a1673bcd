"""Stores beyond disks and S3, which are only read."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dermray import s3, storage, stores
from dermray.datasets.listing import files


class Web(SimpleHTTPRequestHandler):
    """A web server of one folder that answers requests for parts, and lists folders; `moods` are its next statuses."""

    asked: Counter[str] = Counter()
    moods: list[int] = []
    whole = False  # answers with everything, whatever part is asked for

    def do_GET(self) -> None:
        part = self.headers.get("Range")
        self.asked["part" if part else "whole"] += 1
        path = Path(self.translate_path(self.path))
        if self.moods and self.path != "/":
            self.send_error(self.moods.pop(0))
        elif part is None or self.whole or not path.is_file():
            super().do_GET()
        else:
            first, last = part.removeprefix("bytes=").split("-")
            data = path.read_bytes()
            sent = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(sent) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

    def end_headers(self) -> None:
        if not self.whole:
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def do_HEAD(self) -> None:
        if self.moods and self.path != "/":
            self.send_error(self.moods.pop(0))
        else:
            super().do_HEAD()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """URL of a server of `tmp_path`."""
    Web.asked.clear()
    Web.moods, Web.whole = [], False
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Web(*given, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_of_a_web_server(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAUSE", 0.01)
    (tmp_path / "nv").mkdir()
    (tmp_path / "nv" / "a.jpg").write_bytes(b"0123456789")
    (tmp_path / "b.jpg").write_bytes(b"b")
    assert {file.name for file in files(web)} == {"nv/a.jpg", "b.jpg"}
    Web.moods = [503, 503]
    assert storage.read_bytes(f"{web}/nv/a.jpg") == b"0123456789", "tried again"
    assert not Web.moods and storage.exists(f"{web}/b.jpg") and not storage.exists(f"{web}/none.jpg")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{web}/none.jpg")
    Web.moods = [403]
    with pytest.raises(PermissionError, match="b.jpg"):
        storage.read_bytes(f"{web}/b.jpg")
    Web.moods = [503, 503]
    assert storage.exists(f"{web}/nv/a.jpg")
    Web.moods = [403] * 2
    assert not storage.exists(f"{web}/nv/a.jpg")
    Web.moods = [500] * 2 * stores.TRIES
    with pytest.raises(OSError, match="a.jpg: .*500"):
        storage.exists(f"{web}/nv/a.jpg")
    with pytest.raises(OSError, match="x.jpg"):
        storage.exists("http://127.0.0.1:9/x.jpg")
    Web.moods = [500] * stores.TRIES
    with pytest.raises(OSError, match="b.jpg: .*500"):
        storage.read_bytes(f"{web}/b.jpg")


def test_parts_of_a_file(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAUSE", 0.01)
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    for uri in (f"{web}/a.bin", str(tmp_path / "a.bin")):
        ranges = stores.ranges(uri)
        assert (ranges.size, ranges.read(2, 3), ranges.read(8, 9), ranges.read(10, 1)) == (10, b"234", b"89", b"")
    assert Web.asked["part"] >= 2
    Web.whole = True
    with pytest.raises(OSError, match="a.bin: .*Range"):
        stores.ranges(f"{web}/a.bin").read(2, 3)


def test_parts_of_an_object_are_of_one_and_the_same(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a.bin", b"0123456789")
    ranges = stores.ranges(f"{bucket}/a.bin")
    assert (ranges.read(2, 3), ranges.read(8, 9)) == (b"234", b"89")
    storage.write_bytes(f"{bucket}/a.bin", b"another one")
    with pytest.raises(OSError, match=r"a.bin: changed while it was being read"):
        ranges.read(2, 3)
    with pytest.raises(FileNotFoundError, match="none.bin"):
        stores.ranges(f"{bucket}/none.bin")
    assert s3.stored(f"{bucket}/a.bin").etag != ranges.version


def test_memory_is_a_store_like_any_other() -> None:
    fsspec.filesystem("memory").pipe_file("/test-stores/nv/a.jpg", b"a")
    assert [file.name for file in files("memory://test-stores")] == ["nv/a.jpg"]
    assert storage.read_bytes("memory://test-stores/nv/a.jpg") == b"a"
    assert storage.is_directory("memory://test-stores/nv") and not storage.exists("memory://test-stores/mel")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError, match=r"gs://b/x.jpg: gs:// needs a package that is not installed here: .*gcsfs"):
        storage.read_bytes("gs://b/x.jpg")
    with pytest.raises(ValueError, match=r"nope://b: expected a local path, s3://, or a scheme that fsspec reads"):
        storage.exists("nope://b")


def test_results_are_written_to_disks_and_s3_alone() -> None:
    for uri in ("gs://b/out", "memory://out", "https://h/out"):
        with pytest.raises(ValueError, match="expected a local path or an s3:// URI"):
            storage.normalise(uri)
        assert storage.readable(f"{uri}/") == uri
