"""What becomes of a row whose image S3 does not give at once."""

import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dermray import patience, storage
from dermray.datasets.looking import _examine
from dermray.datasets.phantom import SourceConfig, phantom_row
from tests.conftest import s3_environment

IMAGE = phantom_row(0, SourceConfig(count=1, duplicates=0, broken=0))["image"]


class Moody(BaseHTTPRequestHandler):
    """Answers as the object's name says: a status, and how often before it gives the image."""

    asked: Counter[str] = Counter()

    def answer(self) -> None:
        status, _, times = self.path.partition("?")[0].rpartition("/")[2].partition("-")
        self.asked[status] += 1
        bad = not times or self.asked[status] <= int(times)
        self.send_response(int(status) if bad else 200)
        self.send_header("Content-Length", "0" if bad else str(len(IMAGE)))
        self.end_headers()
        if not bad and self.command == "GET":
            self.wfile.write(IMAGE)

    do_GET = do_HEAD = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name, value in s3_environment(f"http://127.0.0.1:{server.server_port}").items():
        monkeypatch.setenv(name, value)
    Moody.asked.clear()
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("moody")
def test_what_passes_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    row = _examine({"uri": "s3://b/503-2"})
    assert (row["status"], row["image"]) == ("ok", IMAGE) and Moody.asked["503"] >= 3
    system, _ = storage.filesystem("s3://b")
    monkeypatch.setenv(patience.VARIABLE, "0.12")  # four requests, more than pyarrow's own three
    with pytest.raises(OSError, match="500"):
        pickle.loads(pickle.dumps(system)).get_file_info("b/500")
    assert Moody.asked["500"] == 4, "a worker is as patient as the driver"


@pytest.mark.usefixtures("moody")
@pytest.mark.parametrize(
    ("status", "reason"), [("403", "image file unreadable: PermissionError"), ("404", "image file missing")]
)
def test_only_an_object_that_is_not_there_or_not_ours_is_a_failed_row(status: str, reason: str) -> None:
    row = _examine({"uri": f"s3://b/{status}"})
    assert (row["status"], row["reason"], Moody.asked) == ("failed", reason, {status: 1})


@pytest.mark.usefixtures("moody")
@pytest.mark.parametrize("status", ["500", "503"])
def test_a_store_that_stays_away_ends_the_job(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "0")
    with pytest.raises(OSError, match=f"s3://b/{status}: S3 does not give this image, .* start again .*{status}"):
        _examine({"uri": f"s3://b/{status}"})
    assert Moody.asked == {status: 2}
