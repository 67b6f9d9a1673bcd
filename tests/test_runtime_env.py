"""What is sent to a cluster's workers; that it reaches them is shown by test_nodes.py and end to end."""

import json
from pathlib import Path

import pytest
from ray.runtime_env import RuntimeEnv
from ray.runtime_env.runtime_env import _merge_runtime_env

from dermray import runtime_env
from dermray.runtime_env import PACKAGE, of_driver

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB, raising=False)
    for name in runtime_env.SENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")


def test_the_whole_package_is_sent_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN", "DERMRAY_API_KEYS", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret")
    with of_driver() as sent:
        assert "secret" not in json.dumps(sent) and sent["env_vars"]["AWS_REGION"] == "eu-west-1"
        copy = Path(sent["working_dir"]) / "dermray"
        files = {str(path.relative_to(copy)): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    ours = {str(path.relative_to(PACKAGE)): path.read_bytes() for path in PACKAGE.rglob("*")
            if path.is_file() and path.parent.name != "__pycache__"}  # fmt: skip
    assert files == ours
    assert not copy.exists()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "working_dir"),
        ({"env_vars": {"AWS_REGION": "us-east-1", "PYTHONPATH": "/code"}, "pip": ["x"]}, "working_dir"),
        ({"working_dir": "gcs://a.zip"}, "py_modules"),
        ({"working_dir": "gcs://a.zip", "py_modules": ["gcs://b.zip"]}, None),
    ],
)
def test_a_job_s_own_wins_and_ray_can_merge_the_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, object], code: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": given}))
    with of_driver() as sent:
        merged = _merge_runtime_env(RuntimeEnv(**given), sent)
    assert merged is not None, "Ray found what both say"
    assert {"working_dir", "py_modules"} & sent.keys() == ({code} if code else set())
    region = "us-east-1" if "env_vars" in given else "eu-west-1"
    assert merged["env_vars"]["AWS_REGION"] == region


def test_a_job_that_brings_this_code_gets_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGE.parent)
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": {"working_dir": "gcs://a.zip"}}))
    with of_driver() as sent:
        assert sent == {"env_vars": {"AWS_REGION": "eu-west-1"}}


def test_a_password_in_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://user:secret@s3.example.org")
    with pytest.raises(ValueError, match="AWS_ENDPOINT_URL: this URL holds") as refused, of_driver():
        pass
    assert "secret" not in str(refused.value)
