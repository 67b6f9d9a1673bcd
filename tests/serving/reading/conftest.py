"""A built study of 14 images whose sealed key is out of reach, and the service that shows it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dermray.config import validate
from dermray.manifest import Result
from dermray.serving.api import api_of
from dermray.serving.keys import Key, Keys, digest
from dermray.serving.reading.book import Book
from dermray.serving.reading.study import Study, opened
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig
from tests.reader_study import made
from tests.serving.jobs.conftest import postgres as postgres  # the same server
from tests.serving.jobs.conftest import url as url


@pytest.fixture(scope="session")
def built_study(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Seven entities, an original and an AI image of each."""
    return made.built(str(tmp_path_factory.mktemp("read")), 1, title="Fourteen lesions")


@pytest.fixture
def shown_study(built_study: Result, tmp_path: Path) -> Path:
    """A copy without its sealed folder: what a service needs, and no more."""
    copy = tmp_path / "shown"
    shutil.copytree(built_study.uri, copy, ignore=shutil.ignore_patterns("sealed"))
    return copy


def study_config(study: Path | str, database: str) -> ServiceConfig:
    """Of a service that shows it as `skin`, and no model."""
    return validate(
        ServiceConfig, {"reader_studies": [{"name": "skin", "study": str(study)}], "jobs": {"database": database}}
    )


@dataclass
class Shown:
    """A service with a study, and readers jane and joe."""

    service: Service
    client: TestClient
    study: Study
    codes: dict[str, str]

    @property
    def book(self) -> Book:
        return self.service.room.book

    def begin(self, reader: str = "jane", **more: Any) -> dict[str, str]:
        """A reader's headers."""
        answer = self.client.post("sessions", json={"code": self.codes[reader]} | more)
        assert answer.status_code == 201, answer.text
        assert answer.json()["reader"] == reader
        return {"Authorization": f"Bearer {answer.json()['session']}"}

    def put(self, headers: dict[str, str], place: int, **more: Any) -> Any:
        """An answer."""
        sent = {"said": {"entity": "mel", "origin": "AI"}, "replaces": 0, "sent_as": f"sending-{place}"} | more
        return self.client.put(f"reading/{place}", json=sent, headers=headers)

    def reading(self, headers: dict[str, str]) -> dict[str, Any]:
        """What the page is told."""
        answer = self.client.get("reading", headers=headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
def keys() -> Keys:
    found = Keys(["operator"])
    found._of_file = (Key(name="scorer", hash=digest("s" * 32), scopes=("classify",)),)
    return found


@pytest.fixture
def shown(shown_study: Path, tmp_path: Path, keys: Keys) -> Iterator[Shown]:
    """Without a browser, a socket and Ray."""
    service = Service(study_config(shown_study, f"sqlite:///{tmp_path}/below/jobs.db"))
    study = opened("skin", str(shown_study))
    codes = service.room.book.register.add(study.id, ["jane", "joe"])
    client = TestClient(api_of(service, keys), base_url="http://testserver/v1/reader-studies/skin/")
    yield Shown(service, client, study, codes)
    service.desk.ledger.engine.dispose()
