"""torch-fidelity's Inception, held to torch-fidelity."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch_fidelity.utils import create_feature_extractor

from dermray.features import inception
from dermray.features.extractor import check, open_extractor
from dermray.features.settings import ExtractorConfig
from tests.features.tiny_networks import images


def config(weights: Path | str) -> ExtractorConfig:
    return ExtractorConfig(kind="inception", weights=str(weights))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (400, 310)])
def test_features_and_logits_are_torch_fidelitys(inception_file: Path, height: int, width: int) -> None:
    shown = images(2, height, width)
    theirs = create_feature_extractor(
        "inception-v3-compat", ["2048", "logits_unbiased"], cuda=False, feature_extractor_weights_path=inception_file
    )
    with torch.inference_mode():
        expected, logits = theirs(shown)
    ours = open_extractor(config(inception_file))
    found = ours.both(shown)
    assert ours.width == 2048 and found[0].dtype == torch.float32
    assert found[1] is not None and found[1].shape == (2, 1008)
    assert torch.allclose(found[0], expected, atol=1e-5) and torch.allclose(found[1], logits, atol=1e-4)
    assert (expected[0] - expected[1]).abs().mean() > 1e-2


def test_files_of_any_format_have_one_hash_and_only_the_published_is_called_inception(
    inception_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(inception_file)
    older = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    save_file(older, tmp_path / "x.safetensors")
    first, second = (open_extractor(config(file)) for file in (inception_file, tmp_path / "x.safetensors"))
    assert first.hash == second.hash and first.name == "inception (not the published weights)"
    monkeypatch.setattr(inception, "PUBLISHED", hashlib.sha256(inception_file.read_bytes()).hexdigest())
    assert open_extractor(config(inception_file)).name == "inception"
    state["fc.weight"][0, 0] += 1e-3
    torch.save(state, tmp_path / "changed.pth")
    assert open_extractor(config(tmp_path / "changed.pth")).hash != first.hash


def test_timms_inception_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("inception_v3").state_dict(), tmp_path / "model.safetensors")
    told = r"not the weights of torch-fidelity's Inception: .*fc.weight is \(1000, 2048\).*kind timm, name inception_v3"
    with pytest.raises(ValueError, match=told):
        check(config(tmp_path / "model.safetensors"))


def test_what_is_no_inception_is_told(tmp_path: Path, inception_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.pth: no such file; get weights-inception-2015"):
        check(config(tmp_path / "none.pth"))
    for given in ("somebody/inception", "timm"):
        with pytest.raises(FileNotFoundError, match=f"weights={given}: no such file; get weights-inception-2015"):
            check(config(given))
    (tmp_path / "cut.pth").write_bytes(inception_file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="cut.pth: cut or damaged, 100,000 bytes, and its end is missing"):
        check(config(tmp_path / "cut.pth"))


class _Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.marker),)

    marker = ""


def test_a_file_that_runs_a_program_runs_none(tmp_path: Path) -> None:
    _Runs.marker = str(tmp_path / "it ran")
    torch.save({"fc.weight": _Runs()}, tmp_path / "bad.pth")
    with pytest.raises(
        ValueError, match="bad.pth: cannot be read as weights .[A-Za-z]+Error.: damaged, or it has other"
    ):
        open_extractor(config(tmp_path / "bad.pth"))
    assert not (tmp_path / "it ran").exists()
    torch.load(tmp_path / "bad.pth", weights_only=False)
    assert (tmp_path / "it ran").exists(), "it would have run"
