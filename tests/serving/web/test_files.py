"""The files that the page consists of, without a browser."""

import re
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dermray.serving import web
from dermray.serving.api import api_of
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(api_of(Service(ServiceConfig(run="x")), Keys(["k"])))


def test_the_page_needs_no_key_and_has_a_strict_policy(client: TestClient) -> None:
    assert client.head("/").status_code == 200, "as programs ask that watch whether it is up"
    answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_of_the_list_is_served_and_no_other(client: TestClient) -> None:
    there = {path.name for path in web.HERE.iterdir() if path.suffix != ".py" and path.is_file()}
    assert set(web.FILES) == {name for name in there if not name.endswith(".html")}
    for name in web.FILES:
        answer = client.get(f"/web/{name}")
        assert answer.status_code == 200 and answer.content == (web.HERE / name).read_bytes()
        assert "content-security-policy" in answer.headers
        assert answer.headers["content-type"].startswith(web.KINDS[Path(name).suffix[1:]])


@pytest.mark.parametrize(
    "path",
    ["/web/__init__.py", "/web/../api.py", "/web/%2e%2e/api.py", "/web/..%2fapi.py", "/web/%2fetc%2fpasswd", "/web/",
     "/web/index.html/", "/web/style.css%00", "/web/none.js"],
)  # fmt: skip
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404) and "error" in answer.json()


def test_no_file_names_another_host_or_holds_script_or_style_in_its_html() -> None:
    for path in web.HERE.glob("*"):
        if path.suffix not in (".html", ".css", ".js", ".svg"):
            continue
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?i)\b(?:https?:|wss?:)?//[a-z0-9-]+\.[a-z]", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"(?is)<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", text), (
                path.name
            )
        if path.suffix == ".js":
            assert "innerHTML" not in text and "eval(" not in text, path.name


def test_a_wheel_holds_them() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["dermray"]
    for name in web.FILES:
        assert f"**/*{Path(name).suffix}" in patterns, name
