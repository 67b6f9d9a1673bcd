"""Captioners that a config names: found, or refused before Ray starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.serving.app import build
from dermray.serving.captions import opening
from dermray.serving.captions.opening import found
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.placing import require_room
from dermray.serving.settings import Autoscaling, ServiceConfig
from tests.captioning.endpoint import KEY, KEY_VARIABLE, Endpoint, serving
from tests.conftest import free_port
from tests.serving.models import write_classifier
from tests.serving.test_runs import finished


def served(**given: Any) -> ServedCaptioner:
    [model] = validate(ServiceConfig, {"models": [{"task": "captioning", "name": "nano"} | given]}).models
    assert isinstance(model, ServedCaptioner)
    return model


def write_captioner(directory: Path) -> str:
    """A directory that looks like a vision-language model's, without weights."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"architectures": ["X"], "vision_config": {}}))
    return str(directory)


def test_a_captioner_in_a_directory(tmp_path: Path) -> None:
    model = served(model=write_captioner(tmp_path / "vlm"), engine={"prompt_format": "USER: {question} ASSISTANT:"})
    place = found(model)
    assert place.captioner.model == place.captioner.name == str(tmp_path / "vlm")
    assert len(str(place.captioner.revision)) == 12, "a fingerprint"
    assert place.parts == ("USER: ", " ASSISTANT:")


def test_a_model_of_another_task(tmp_path: Path) -> None:
    write_classifier(tmp_path / "classifier")
    with pytest.raises(ValueError, match=r"models.nano: .*/classifier holds no vision-language model"):
        found(served(model=str(tmp_path / "classifier")))
    finished(tmp_path, "sweep", {})
    with pytest.raises(ValueError, match="result of stage 'sweep', expected one of 'captioner'"):
        found(served(model=str(tmp_path / "sweep")))
    with pytest.raises(FileNotFoundError, match="captioner=/nowhere: no such directory; give a model directory"):
        found(served(model="/nowhere"))
    captioner = {"task": "classification", "name": "c", "model": write_captioner(tmp_path / "vlm")}
    with pytest.raises((ValueError, FileNotFoundError), match="vlm"):
        build(validate(ServiceConfig, {"models": [captioner]}))


def test_vllm_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"models.nano: task=captioning needs vLLM; pip install 'dermray\[cpu\]'"):
        build(validate(ServiceConfig, {"models": [{"task": "captioning", "name": "nano", "model": "/x"}]}))


class Listing(Endpoint):
    """Tells its models."""


def test_a_remote_endpoint_is_asked_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    remote = {"base_url": f"http://127.0.0.1:{free_port()}/v1", "model": "m", "key_variable": KEY_VARIABLE}
    quick = remote | {"max_retries": 0}
    with pytest.raises(ValueError, match=f"remote.key_variable={KEY_VARIABLE}: not set"):
        found(served(remote=quick))
    monkeypatch.setenv(KEY_VARIABLE, "another-key")
    with pytest.raises(ConnectionError, match="no answer"):
        found(served(remote=quick))
    with serving(Listing) as address:
        there = quick | {"base_url": address}
        with pytest.raises(ValueError, match="401: Wrong key") as raised:
            found(served(remote=there))
        assert "another-key" not in str(raised.value)
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        with pytest.raises(ValueError, match="remote.model='n': not served"):
            found(served(remote=there | {"model": "n"}))
        assert found(served(remote=there)).captioner.name == "m"


def test_replicas_share_an_endpoint_s_requests_a_minute() -> None:
    remote = {"base_url": "http://x/v1", "model": "m", "requests_per_minute": 60}
    assert served(remote=remote, replicas=3).host.replicas == 3
    scaled = served(remote=remote, replicas={"min_replicas": 1, "max_replicas": 5})
    assert isinstance(scaled.replicas, Autoscaling) and scaled.host.replicas == 5


def test_an_engine_over_several_gpus() -> None:
    engine = {"tensor_parallel_size": 4}
    host: Any = served(model="a/b", engine=engine, gpus_per_replica=4, cpus_per_replica=2).host
    assert (host.gpus, host.cpus) == (1, 2)


def test_what_an_engine_needs_reaches_serve(tmp_path: Path) -> None:
    from ray.serve._private.build_app import build_app

    model = {"task": "captioning", "name": "nano", "model": write_captioner(tmp_path / "vlm"), "cpus_per_replica": 2}
    engine = {"engine": {"prompt_format": "{question}"}, "gpus_per_replica": 1, "replicas": 2}
    for more, separate in ((engine, False), (engine | {"gpus_per_replica": 0}, True)):
        config = validate(ServiceConfig, {"models": [model | more]})
        found = {d.name: d for d in build_app(build(config), name="dermray", route_prefix="/").deployments}
        options = found["nano"].ray_actor_options
        assert (options["num_cpus"], options["num_gpus"]) == (2, more["gpus_per_replica"])
        assert ("VLLM_ENABLE_V1_MULTIPROCESSING" in options["runtime_env"]["env_vars"]) == separate
        assert not found["Api"].ray_actor_options.get("runtime_env")
    with pytest.raises(ValueError, match=r"GPUs: 2 asked for \(nano 2\), 0 there"):
        require_room(validate(ServiceConfig, {"models": [model | engine]}), {"CPU": 8})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "give either model (which vLLM hosts here) or remote (an endpoint), not both"),
        ({"model": "/x", "remote": {"base_url": "http://x", "model": "m"}}, "not both"),
        ({"model": "/x", "prompt_set": "abcd"}, "prompt_set='abcd': expected one of ('abc'"),
        ({"model": "/x", "metadata": ["tone"]}, "metadata=['tone']: expected names out of"),
        ({"model": "/x", "engine": {"gpus": 1}}, "engine.gpus: leave it out, and give replicas, cpus_per_replica"),
        ({"model": "/x", "engine": {"pipeline_parallel_size": 2}}, "serve such a model by `vllm serve`"),
        ({"model": "/x", "sampling": {"temperature": 0.5}}, "expected 0 where gpus_per_replica=0"),
        ({"model": "/x", "sampling": {"max_tokens": 512}}, "expected less than engine.max_model_len=512"),
        ({"model": "a/b", "engine": {"trust_remote_code": True}}, "expected engine.revision to be a commit"),
        ({"remote": {"base_url": "http://x", "model": "m", "replicas": 2}}, "remote.replicas: leave it out"),
        ({"remote": {"base_url": "http://x", "model": "m"}, "gpus_per_replica": 1}, "expected 0 with remote"),
        ({"model": "/x", "replicas": {"min_replicas": 0, "max_replicas": 2}}, "min_replicas: expected at least 1"),
        ({"remote": {"base_url": "http://me:secret@x", "model": "m"}}, "this URL holds a user or password"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        served(**given)
    assert told in str(raised.value)


def test_a_config_travels_to_the_replicas_as_it_is() -> None:
    given = {"task": "captioning", "name": "nano", "model": "/x", "replicas": 2, "sampling": {"max_tokens": 9}}
    config = validate(ServiceConfig, {"models": [given]})
    assert validate(ServiceConfig, config.model_dump(mode="json")) == config
