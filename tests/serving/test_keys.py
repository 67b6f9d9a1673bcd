import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from dermray.serving.keys import keys_from_environment, require_key


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(require_key(lambda: ["first", "second"]))])
    def root() -> str:
        return "ok"

    return TestClient(app)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic first", 401),
        ("Bearer first", 200),
        ("bearer second", 200),
    ],
)
def test_keys(client: TestClient, header: str | None, status: int) -> None:
    answer = client.get("/", headers={"Authorization": header} if header else {})
    assert answer.status_code == status
    if status == 401:
        assert "API key" in answer.json()["detail"] and answer.headers["WWW-Authenticate"] == "Bearer"


def test_no_keys_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_API_KEYS", " a , b,")
    assert keys_from_environment() == ["a", "b"]
    monkeypatch.setenv("DERMRAY_API_KEYS", " ,")
    with pytest.raises(ValueError, match="DERMRAY_API_KEYS is not set"):
        keys_from_environment()
