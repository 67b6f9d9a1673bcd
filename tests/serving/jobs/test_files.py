"""Images of jobs and the links to them, on a disk and in S3."""

import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import httpx
import pytest

from dermray.serving.jobs.files import BadLink, JobFiles

SECRET = bytes(32)


def parts(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


def test_a_link_opens_its_image_alone_and_for_a_while(tmp_path: Path) -> None:
    files = JobFiles(str(tmp_path), 60, SECRET)
    files.write("job", 3, b"png")
    link = files.link("job", 3, "https://service")
    assert link.startswith("https://service/v1/jobs/job/images/3?expires=")
    given = parts(link)
    files.check("job", 3, **given)
    assert files.read("job", 3) == b"png"
    later = str(int(given["expires"]) + 1000)
    for job, place, changed in (("job", 4, given), ("other", 3, given), ("job", 3, given | {"expires": later}),
                                ("job", 3, given | {"signature": "é"}), ("job", 3, {"expires": "", "signature": ""}),
                                ("job", 3, given | {"expires": "9" * 40})):  # fmt: skip
        with pytest.raises(BadLink, match="take the link as it was given"):
            files.check(job, place, **changed)
    with pytest.raises(BadLink, match="take the link"):
        JobFiles(str(tmp_path), 60, b"another secret").check("job", 3, **given)


def test_a_link_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = parts(JobFiles(str(tmp_path), 60, SECRET).link("job", 3, ""))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(BadLink, match=r"has expired: GET /v1/jobs/job gives a new one"):
        JobFiles(str(tmp_path), 60, SECRET).check("job", 3, **given)


def test_s3_signs_its_own(bucket: str) -> None:
    files = JobFiles(f"{bucket}/jobs", 600, SECRET)
    files.write("job", 3, b"png")
    link = files.link("job", 3, "https://service")
    assert "X-Amz-Expires=600" in link and "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link
    with urlopen(link) as answer:
        assert answer.read() == b"png" and answer.headers["Content-Type"] == "image/png"
    files.remove("job")
    assert httpx.get(link).status_code in (403, 404)
    with pytest.raises(FileNotFoundError):
        files.read("job", 3)
