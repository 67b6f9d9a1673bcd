"""Weights by names that mean the same on every node, and what tells them from others."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import cloudpickle

from dermray import storage, weights
from dermray.captioning import models
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import Ask
from dermray.captioning.ledger import Ledger
from dermray.captioning.settings import Sampling, VllmConfig
from dermray.captioning.vllm_engine import _noting

FILES = {"model.safetensors": os.urandom(2_500_000), "a/x": b"1", "a-b/x": b"2", "config.json": b"{}"}


def write(place: str, files: dict[str, bytes] = FILES) -> str:
    for name, data in files.items():
        storage.write_bytes(f"{place}/{name}", data)
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_moved_model_keeps_its_fingerprint_and_another_has_another(bucket: str, tmp_path: Path, cache: Path) -> None:
    here, there = write(str(tmp_path / "model")), write(f"{bucket}/model")
    assert weights.fingerprint(here) == weights.fingerprint(there) == weights.revision_of(there, "main")
    assert not cache.exists(), "nothing is downloaded for it"
    for change in ({"config.json": b"[]"}, {"new": b""}, {"model.safetensors": FILES["model.safetensors"][:-1] + b"!"}):
        write(there, FILES | change)
        assert weights.fingerprint(there) != weights.fingerprint(here)
    with pytest.raises(FileNotFoundError, match="none"):
        weights.fingerprint(f"{bucket}/none")


def test_other_weights_than_the_run_began_with_are_refused(place: str) -> None:
    model = write(f"{place}/model")
    revision = weights.revision_of(model, None)
    for given in (revision, None, "main", "c" * 40):
        assert Path(weights.locate(model, "model.base", given), "config.json").read_bytes() == b"{}"
    write(model, {"config.json": b"[]"})
    with pytest.raises(ValueError, match=rf"model\.base=.*its files have changed .* {revision} when this work began"):
        weights.locate(model, "model.base", revision)


def test_a_relative_path_means_the_same_to_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have another working directory, where `weights/sd` would be taken for a hub id."""
    write(str(tmp_path / "weights" / "sd"))
    monkeypatch.chdir(tmp_path)
    assert weights.everywhere("weights/sd", "model.base") == str(tmp_path / "weights" / "sd")
    assert weights.everywhere("some/model", "model.base") == weights.locate("some/model", "model.base") == "some/model"
    assert weights.on_hub("some/model") and not weights.on_hub(str(tmp_path)) and not weights.on_hub("s3://some/model")
    with pytest.raises(FileNotFoundError, match="captioner=./none: no such directory"):
        weights.everywhere("./none", "captioner")


def test_the_driver_takes_no_tensors(bucket: str) -> None:
    small = Path(weights.locate_small(write(f"{bucket}/model"), "captioner"))
    assert sorted(str(p.relative_to(small)) for p in small.rglob("*") if p.is_file()) == ["a-b/x", "a/x", "config.json"]


def test_a_hub_out_of_reach_means_the_commit_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    def offline(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled("offline")

    def kept(name: str, revision: str | None, local_files_only: bool) -> str:
        assert local_files_only
        if name == "some/other":
            raise LocalEntryNotFoundError("not here")
        return f"/cache/snapshots/{'c' * 40}"

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", kept)
    assert weights.hub_commit("some/model", None) == "c" * 40
    with pytest.raises(
        FileNotFoundError, match=r"some/other: the hub, .*, is out of reach .*; give a directory or an s3"
    ):
        weights.hub_commit("some/other", None)


@pytest.mark.parametrize("status", [None, 503])
def test_a_hub_is_asked_once(status: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses connections, and one that has no time now but may when the files are asked for."""
    import httpx
    import huggingface_hub
    from huggingface_hub import hf_api

    asked = list[str]()

    def get(url: str, **_: object) -> httpx.Response:
        asked.append(url)
        if status is None:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        return httpx.Response(status, request=httpx.Request("GET", url))

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hf_api, "get_session", lambda: SimpleNamespace(get=get))
    if status is None:
        with pytest.raises(
            FileNotFoundError, match=r"is out of reach \(.*Connection refused\), and this machine has no"
        ):
            weights.hub_commit("some/model", "v1")
    else:
        assert weights.hub_commit("some/model", "v1") == "v1"
    assert len(asked) == 1


class Engine:
    """In place of ray.data.llm's stage: keeps what it was to load."""

    def __init__(self, **named: str) -> None:
        self.model = named["model"]
        model_config = SimpleNamespace(
            try_get_generation_config=lambda: {"eos_token_id": 2}, hf_text_config=SimpleNamespace(eos_token_id=2)
        )
        engine = {"vllm_config": SimpleNamespace(model_config=model_config)}
        self.llm = SimpleNamespace(
            engine=SimpleNamespace(**engine, get_tokenizer=lambda: SimpleNamespace(get_vocab=dict))
        )


NODE = """
import pickle, sys
engine = pickle.load(sys.stdin.buffer)(model=sys.argv[1])
print(engine.model, engine.adapter)
"""


def test_engines_on_other_nodes_find_captioner_and_adapter_in_s3(bucket: str, tmp_path: Path, cache: Path) -> None:
    """Another node is another process with a cache of its own; it gets what Ray would send there."""
    model, lora = write(f"{bucket}/model"), write(f"{bucket}/lora", {"adapter_config.json": b"{}"})
    found = models.adapted(models.find(model, None), lora, None)
    config = VllmConfig(lora=lora).model_copy(update=found.settings)
    ask = Ask(found.model, Sampling(), None, 1, Ledger(f"{tmp_path}/ledger"), AnswerCache(f"{tmp_path}/answers"))
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    sent = cloudpickle.dumps(_noting(Engine, ask, config))
    assert str(cache).encode() not in sent
    command = [sys.executable, "-c", NODE, found.model]
    node = os.environ | {"DERMRAY_CACHE": str(tmp_path / "node")}
    done = subprocess.run(command, input=sent, capture_output=True, env=node, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    there, adapter = map(Path, done.stdout.decode().split())
    assert there.is_relative_to(tmp_path / "node") and weights.fingerprint(str(there)) == found.settings["revision"]
    assert adapter.is_relative_to(tmp_path / "node") and (adapter / "adapter_config.json").is_file()
