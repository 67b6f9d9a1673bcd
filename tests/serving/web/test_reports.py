"""Which files of a run a browser may have, asked over HTTP without a browser."""

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from fastapi.testclient import TestClient

from dermray import manifest, storage
from dermray.config import validate
from dermray.manifest import Manifest, Rows
from dermray.serving.api import api_of
from dermray.serving.app import build
from dermray.serving.keys import Key, Keys, digest
from dermray.serving.reports import listing
from dermray.serving.reports.headlines import headlines
from dermray.serving.reports.links import Links
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig
from tests.serving.web.runs import PAGE, Nothing, write_result, write_run

MODELS = [{"task": "generation", "name": "pixel", "model": "none"}]
LETTER = {"Authorization": "Bearer k"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "clinic"
    write_run(directory)
    return directory


def service_of(run: Path, **more: object) -> TestClient:
    jobs = {"database": f"sqlite:///{run.parent}/jobs.db", "place": f"{run.parent}/jobs"}
    config = validate(ServiceConfig, {"models": MODELS, "runs": [str(run)], "jobs": jobs | more})
    keys = Keys(["k"])
    keys._of_file = (Key(name="scorer", hash=digest("scorer"), scopes=("classify",)),)
    return TestClient(api_of(Service(config), keys))


@pytest.fixture(scope="module")
def client(run: Path) -> TestClient:
    return service_of(run)


def links(client: TestClient) -> Links:
    """What signs for this service: a test may have links that the list does not give."""
    ledger = client.app.state.service.desk.ledger  # type: ignore[attr-defined]
    return Links(ledger.link_secret(), 60)


def test_a_run_is_listed_with_its_stages_pages_and_headlines(client: TestClient) -> None:
    [found] = client.get("/v1/runs", headers=LETTER).json()["data"]
    assert found["name"] == "clinic" and [one["name"] for one in found["files"]] == ["report.html"]
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert set(stages) == {"sweep", "reader-study-build", "broken"}
    assert [one["name"] for one in stages["sweep"]["files"]] == ["page.html", "plot.svg", "summary.json"]
    assert stages["sweep"]["headlines"] == ["yes  real better", "NO   synthetic better"]
    assert stages["sweep"]["rows"]["ok"] == 11 and len(stages["sweep"]["key"]) == 12
    assert "cannot be read" in stages["broken"]["error"]


def test_a_key_without_the_scope_sees_no_run(client: TestClient) -> None:
    assert client.get("/v1/runs").status_code == 401
    assert client.get("/v1/runs", headers={"Authorization": "Bearer scorer"}).json()["error"]["code"] == "missing_scope"


def test_a_page_is_opened_by_its_link_and_may_run_nothing(client: TestClient) -> None:
    [found] = client.get("/v1/runs", headers=LETTER).json()["data"]
    answer = client.get("/" + found["files"][0]["url"])
    assert answer.status_code == 200 and answer.text == PAGE
    policy = answer.headers["content-security-policy"]
    assert re.search(r"(^|; )sandbox(;|$)", policy) and "default-src 'none'" in policy and "script-src" not in policy
    assert answer.headers["cache-control"] == "private, no-store" and answer.headers["referrer-policy"] == "no-referrer"
    for file in (file for stage in found["stages"] for file in stage.get("files", [])):
        suffix = file["name"].rpartition(".")[2]
        assert client.get("/" + file["url"]).headers["content-type"] == listing.SUFFIXES[suffix]


def test_links_are_of_one_file_and_expire(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    url = urlsplit(links(client).to("clinic", "stage-sweep", "page.html"))
    assert client.get(f"/{url.path}?{url.query}").status_code == 200
    for wrong in (
        f"/{url.path}", f"/{url.path}?{url.query}0", f"/v1/runs/clinic/stage-sweep/summary.json?{url.query}",
        f"/{url.path}?{url.query.replace('expires=1', 'expires=2')}", f"/{url.path}?expires=x&signature=y",
    ):  # fmt: skip
        answer = client.get(wrong)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "bad_link", wrong
    monkeypatch.setattr("time.time", lambda: 1e11)
    assert "has expired" in client.get(f"/{url.path}?{url.query}").json()["error"]["message"]


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("stage-study", "sealed/key.json"), ("stage-study", "key.json"), ("stage-study", "instructions.html"),
        ("stage-sweep", "table.csv"), ("stage-sweep", "model/config.json"), ("stage-sweep", "model.safetensors"),
        ("stage-sweep", ".hidden.html"), ("stage-sweep", "../manifest.json"), ("stage-sweep", "manifest.json"),
        ("stage-sweep", "linked.json"), ("stage-sweep", "page.html\n"), ("stage-..", "report.html"),
        ("stage-sweep/../study", "study.json"), ("run", "secrets.json"), ("run", "../clinic/report.html"),
        ("run", "manifest.json"), ("result", "report.html"), ("stage-broken", "page.html"), ("stage-", "report.html"),
        ("stage-none", "page.html"), ("sweep", "page.html"),
    ],
)  # fmt: skip
def test_nothing_else_is_given_out_even_by_a_signed_link(client: TestClient, run: Path, part: str, file: str) -> None:
    data = next((run / "sweep").glob("data-*"))
    if not (data / "linked.json").exists():
        (data / "linked.json").symlink_to(run / "secrets.json")
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        listing.read(str(run), part, file)
    query = urlsplit(links(client).to("clinic", part, file)).query
    answer = client.get(f"/v1/runs/clinic/{quote(part, safe='')}/{quote(file, safe='')}?{query}")
    assert answer.status_code in (400, 404), answer.text
    signed = links(client).to("other", "run", "report.html")
    assert client.get("/" + signed).status_code == 404


def test_a_manifest_that_names_another_directory_opens_none(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "page.html").write_text("no")
    write_result(tmp_path / "sweep", "sweep", {"page.html": PAGE})
    path = tmp_path / "sweep" / "manifest.json"
    told = Manifest.model_validate_json(path.read_text()).model_copy(update={"data": "../outside"})
    path.unlink()
    path.write_text(told.model_dump_json())
    with pytest.raises(FileNotFoundError):
        listing.read(str(tmp_path), "stage-sweep", "page.html")
    assert listing.files(str(tmp_path), listing.parts(str(tmp_path))[0]) == []


def test_a_single_result_is_a_run_too(run: Path) -> None:
    client = service_of(run / "sweep")
    [found] = client.get("/v1/runs", headers=LETTER).json()["data"]
    assert found["name"] == "sweep" and found["files"] == []
    [stage] = found["stages"]
    assert [client.get("/" + one["url"]).text for one in stage["files"] if one["name"] == "page.html"] == [PAGE]


def test_runs_in_s3(bucket: str, run: Path) -> None:
    storage.copy_directory(str(run / "sweep"), f"{bucket}/clinic/sweep")
    storage.write_bytes(f"{bucket}/clinic/report.html", PAGE.encode())
    assert listing.require((f"{bucket}/clinic",)) == (f"{bucket}/clinic",)
    [part] = listing.parts(f"{bucket}/clinic")
    assert "page.html" in listing.files(f"{bucket}/clinic", part)
    assert listing.files(f"{bucket}/clinic", None) == ["report.html"]
    assert listing.read(f"{bucket}/clinic", "stage-sweep", "page.html")[0] == PAGE.encode()
    for part_of, file in (("stage-sweep", "table.csv"), ("stage-sweep", "none.html"), ("stage-none", "page.html")):
        with pytest.raises(FileNotFoundError):
            listing.read(f"{bucket}/clinic", part_of, file)


def test_a_run_that_is_gone_is_told_at_the_start_and_later(run: Path, tmp_path: Path) -> None:
    config = validate(ServiceConfig, {"models": MODELS, "runs": [str(tmp_path / "gone")]})
    with pytest.raises(FileNotFoundError, match="runs: .*gone: no such directory"):
        build(config)
    [found] = service_of(tmp_path / "gone").get("/v1/runs", headers=LETTER).json()["data"]
    assert found == {"name": "gone", "files": [], "stages": [], "error": "not there any more"}


def test_two_runs_of_one_name_are_told_apart() -> None:
    assert listing.names(("/a/clinic", "s3://b/clinic/", "/c/.x y")) == {
        "clinic": "/a/clinic", "clinic-2": "s3://b/clinic/", "x-y": "/c/.x y",
    }  # fmt: skip


def test_figures_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    with manifest.work("train", str(tmp_path), Nothing(), {}) as work:
        Path(work.data).mkdir()
        done = work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1, training={"steps": "many"})
    assert headlines(done.manifest) == []
