"""A classifier of the classify stage as an extractor."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dermray import manifest, storage
from dermray.backbones.networks import Backbone, build
from dermray.classification import saved
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.datasets.decode import square
from dermray.features.extractor import check, open_extractor, settled
from dermray.features.settings import ExtractorConfig
from tests.classification import made_rows
from tests.features.tiny_networks import images

SIZE = 48  # px
ENTITIES = Target("entity", ("bcc", "mel", "nv"))
BINARY = Target("malignant", ("benign", "malignant"))


def result(
    directory: Path,
    target: Target = ENTITIES,
    stage: str = "classify",
    inputs: dict[str, str] | None = None,
    seed: int = 0,
) -> ExtractorConfig:
    """A result as the classify stage leaves it."""
    torch.manual_seed(seed)
    backbone = Backbone(name="test_resnet", learning_rate=1e-3)
    model = directory / "data" / "model"
    model.mkdir(parents=True)
    saved.save(model, Saved(build(backbone, target.outputs).eval(), backbone, target, SIZE))
    made_rows.result(str(directory), stage, [], inputs or {"rows": "aaaa"})
    return ExtractorConfig(kind="classifier", weights=str(directory))


@pytest.mark.parametrize("target", [ENTITIES, BINARY])
def test_it_sees_what_the_classify_stage_saw(target: Target, tmp_path: Path) -> None:
    config, shown = result(tmp_path / "run", target), images(3, 90, 70)
    model = saved.load(tmp_path / "run" / "data" / "model").model
    pictures = [Image.fromarray(image) for image in shown.permute(0, 2, 3, 1).numpy()]
    pixels = torch.stack([torch.from_numpy(square(picture, SIZE)) for picture in pictures])
    with torch.inference_mode():
        logits = model(pixels)
        normalised = (pixels.float() / 255 - model.mean) / model.std
        expected = model.network.forward_head(model.network.forward_features(normalised), pre_logits=True)
    ours = open_extractor(config)
    found, said = ours.both(shown)
    assert ours.name == f"classifier test_resnet of {target.column}" and ours.width == expected.shape[1]
    assert torch.allclose(found, expected, atol=1e-5)
    assert said is not None and said.shape == (3, len(target.classes))
    wanted = logits.sigmoid()[:, 0] if target is BINARY else logits.softmax(1)[:, 1]
    assert torch.allclose(said.softmax(1)[:, 1], wanted, atol=1e-6)


def test_it_may_lie_in_s3_and_is_the_same(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_CACHE", str(tmp_path / "cache"))
    config = result(tmp_path / "run")
    storage.copy_directory(str(tmp_path / "run"), f"{bucket}/run")
    there = settled(ExtractorConfig(kind="classifier", weights=f"{bucket}/run"))
    assert there.weights == f"{bucket}/run" and there.revision == settled(config).revision
    assert open_extractor(there).hash == open_extractor(config).hash
    assert open_extractor(result(tmp_path / "other", seed=1)).hash != open_extractor(config).hash


def test_results_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights=.*sweep: result of stage 'sweep', expected 'classify'"):
        check(result(tmp_path / "sweep", stage="sweep"))
    with pytest.raises(ValueError, match="trained on synthetic images too .result bbbb.*real images alone"):
        check(result(tmp_path / "both", inputs={"rows": "aaaa", "synthetic": "bbbb"}))
    with pytest.raises(FileNotFoundError, match="nothing: does not exist; run the stage before first"):
        check(ExtractorConfig(kind="classifier", weights=str(tmp_path / "nothing")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no finished result"):
        check(ExtractorConfig(kind="classifier", weights=str(tmp_path / "empty")))
    cut = result(tmp_path / "cut")
    file = tmp_path / "cut" / "data" / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors: cut or damaged"):
        check(cut)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing; copy the result again"):
        check(cut)
    assert manifest.read(str(tmp_path / "cut")).manifest.stage == "classify"
