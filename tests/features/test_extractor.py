"""What all extractors share: their config, their hash, batches, devices, and files that change or lie elsewhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dermray import storage
from dermray.config import ConfigError, validate
from dermray.features import judge, opened
from dermray.features.extractor import Extractor, check, open_extractor, settled
from dermray.features.opened import Opened
from dermray.features.settings import ExtractorConfig
from tests.features.tiny_networks import images


@pytest.fixture
def timm_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    return tmp_path / "resnet.safetensors"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": "judge", "weights": "x.pth"}, "weights=x.pth: a judge is trained by the run and takes none"),
        ({"kind": "inception"}, "weights: kind inception needs its weights; give torch-fidelity's file, weights-inc"),
        ({"kind": "clip"}, "weights: kind clip needs its weights; give a transformers folder"),
        ({"kind": "timm", "weights": "x.pth"}, "name: kind timm needs the network's name, such as tf_efficientnet"),
        ({"kind": "dinov2", "weights": "x", "name": "vit"}, "name=vit: only kind timm takes a name, not dinov2"),
        ({"kind": "vgg", "weights": "x"}, "kind"),
        ({"kind": "clip", "weights": "https://me:secret@host/x"}, "this URL holds a user or password"),
    ],
)
def test_fields_that_do_not_go_together_are_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validate(ExtractorConfig, given)


def test_a_judge_is_opened_by_who_trains_it() -> None:
    assert settled(ExtractorConfig()) == ExtractorConfig()
    with pytest.raises(ValueError, match="kind=judge: trained by the stage that needs it"):
        open_extractor(ExtractorConfig())


@pytest.mark.parametrize("heads", [{"label": 3}, judge.PHANTOM_HEADS])
def test_a_trained_judge_is_an_extractor(heads: dict[str, int]) -> None:
    torch.manual_seed(0)
    model, shown = judge.Judge(heads, width=8).eval(), images(70, 32, 32)
    ours: Extractor = judge.extractor_of(model)
    assert (ours.name, ours.width) == ("judge", 256)
    assert torch.allclose(ours(shown), judge.features(model, shown), atol=1e-6)
    logits = ours.logits(shown)
    if len(heads) == 1:
        assert logits is not None and torch.equal(logits.argmax(1, keepdim=True), judge.predict(model, shown))
    else:
        assert logits is None
    with torch.no_grad():
        model.classify.bias[0] += 1
    assert judge.extractor_of(model).hash != ours.hash


def test_the_hash_is_of_weights_and_preparation_wherever_they_lie(
    clip_folder: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    storage.copy_directory(str(clip_folder), f"{bucket}/models/clip")
    shutil.copytree(clip_folder, tmp_path / "moved")
    configs = [
        settled(ExtractorConfig(kind="clip", weights=place))
        for place in (str(clip_folder), str(tmp_path / "moved"), f"{bucket}/models/clip")
    ]
    assert len({config.revision for config in configs}) == 1
    found = [open_extractor(config) for config in configs]
    assert len({each.hash for each in found}) == 1 and all(
        torch.equal(each(images()), found[0](images())) for each in found
    )
    file = tmp_path / "moved" / "preprocessor_config.json"
    file.write_text(file.read_text().replace("0.6", "0.61"))
    assert open_extractor(ExtractorConfig(kind="clip", weights=str(tmp_path / "moved"))).hash != found[0].hash


def test_files_that_changed_since_the_work_began_are_refused(timm_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(timm_file.parent)
    config = settled(ExtractorConfig(kind="timm", name="test_resnet", weights=timm_file.name))
    assert config.weights == str(timm_file) and config.revision
    assert settled(config) == config
    monkeypatch.chdir("/")
    open_extractor(config)
    save_file(timm.create_model("test_resnet").state_dict(), timm_file)
    with pytest.raises(ValueError, match=f"fingerprint [0-9a-f]{{12}}, expected {config.revision}: other files"):
        open_extractor(config)
    with pytest.raises(ValueError, match="revision=main: only a hub id has revisions"):
        check(config.model_copy(update={"revision": "main"}))


def test_a_hub_out_of_reach_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    def refuse(*_: Any, **__: Any) -> None:
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    for given in (
        {"kind": "clip", "weights": "nobody/clip"},
        {"kind": "timm", "name": "test_resnet", "weights": "nobody/resnet"},
        {"kind": "timm", "name": "resnet18", "weights": "timm"},
    ):
        with pytest.raises(FileNotFoundError, match="(nobody|timm)/.*the hub, .*is out of reach"):
            check(ExtractorConfig.model_validate(given))


def test_a_hub_id_is_settled_at_its_commit(monkeypatch: pytest.MonkeyPatch, clip_folder: Path) -> None:
    import huggingface_hub

    from dermray import weights

    commit = "d" * 40
    monkeypatch.setattr(weights, "hub_commit", lambda name, revision: commit)
    asked = []

    def downloaded(name: str, file: str, revision: str) -> str:
        asked.append((name, file, revision))
        return str(clip_folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", downloaded)
    config = settled(ExtractorConfig(kind="clip", weights="somebody/clip"))
    assert (config.weights, config.revision) == ("somebody/clip", commit)
    assert asked == [("somebody/clip", "config.json", commit)]


def test_many_images_go_through_in_batches_that_fit(timm_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = open_extractor(ExtractorConfig(kind="timm", name="test_resnet", weights=str(timm_file)))
    assert isinstance(ours, Opened)
    shown, sizes = images(10, 32, 32), []
    whole = ours(shown)
    network = ours.network
    monkeypatch.setattr(opened, "AT_ONCE", 4)
    network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    assert torch.allclose(ours(shown), whole, atol=1e-5) and sizes == [4, 4, 2]
    for wrong in (shown.float(), shown[0], shown[:, :1], shown[:0]):
        with pytest.raises(ValueError, match="images: expected .B, 3, H, W. uint8"):
            ours(wrong)


@pytest.mark.parametrize("kind", ["timm", "clip", "dinov2", "inception", "judge"])
def test_all_that_the_network_needs_moves_to_the_device(
    kind: str, timm_file: Path, request: pytest.FixtureRequest
) -> None:
    """The meta device stands for a GPU: a tensor left on the CPU fails there too."""
    ours: Any
    if kind == "judge":
        ours = judge.extractor_of(judge.Judge({"label": 2}, width=8))
    else:
        weights = {"timm": timm_file}.get(kind) or request.getfixturevalue(
            "inception_file" if kind == "inception" else f"{kind}_folder"
        )
        given = {"kind": kind, "weights": str(weights)} | ({"name": "test_resnet"} if kind == "timm" else {})
        ours = open_extractor(ExtractorConfig.model_validate(given))
    shown: Tensor = ours.prepare(images(2, 32, 32))
    ours.network.to("meta")
    with FakeTensorMode(allow_non_fake_inputs=True):
        features, logits = ours.network(torch.empty(shown.shape, dtype=shown.dtype, device="meta"))
        assert features.device.type == "meta" and features.shape == (2, ours.width)
        assert (logits is None) == (kind not in ("inception", "judge"))
        with pytest.raises(RuntimeError, match="device"):
            ours.network(torch.empty(shown.shape, dtype=shown.dtype))
