"""Models in bfloat16 and compiled, on CPUs; and clusters that are too small."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dermray.classification.batches import InMemory
from dermray.classification.training import probabilities
from dermray.config import validate
from dermray.generators.base import Request
from dermray.serving.opening import open_classifier, open_generator, place_of
from dermray.serving.placing import placed, require_room
from dermray.serving.settings import ServedClassifier, ServedGenerator, ServiceConfig
from tests.serving.models import PROMPT

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
REQUESTS = [Request(PROMPT, seed) for seed in range(3)]


def scores(model: Any) -> np.ndarray:
    with torch.inference_mode():
        return probabilities(model, InMemory(IMAGES), np.arange(len(IMAGES)))


def classifier(folder: Path, **how: Any) -> Any:
    config = ServedClassifier(task="classification", name="c", model="x", **how)
    return placed(open_classifier(place_of(str(folder / "classifier"), "classification")).model, config)


def generator(folder: Path, **how: Any) -> Any:
    config = ServedGenerator(task="generation", name="g", model="x", **how)
    return placed(open_generator(place_of(str(folder / "generator"), "generation"))[0], config)


def test_a_classifier_in_bfloat16(served_models: Path) -> None:
    seen = []
    model = classifier(served_models, dtype="bfloat16")
    first = next(part for part in model.modules() if isinstance(part, torch.nn.Conv2d))
    first.register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    exact, rough = scores(classifier(served_models)), scores(model)
    assert seen == [torch.bfloat16], "nothing was computed in it"
    assert rough.dtype == np.float64 and not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.02)


def test_a_generator_in_bfloat16(served_models: Path) -> None:
    exact = generator(served_models).sample(REQUESTS, 2.0, 3).int()
    model = generator(served_models, dtype="bfloat16")
    seen = []
    model.stem.register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    rough = model.sample(REQUESTS, 2.0, 3).int()
    assert set(seen) == {torch.bfloat16}
    difference = (exact - rough).abs().float()
    assert 0 < difference.mean() < 8, "levels of 256"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled(served_models: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as it is for any backend, whose minutes are left out; once for all sizes of a batch but one."""
    from torch._dynamo.testing import CompileCounter

    counter, compiling = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **how: compiling(call, backend=counter, **how))
    plain, model = (classifier(served_models, dtype=dtype, compile=compiled) for compiled in (False, True))
    with torch.inference_mode():
        for size in (1, 5, 3, 2):
            images = torch.from_numpy(IMAGES[:size])
            torch.testing.assert_close(model(images), plain(images), atol=0.02, rtol=0.02)
    assert 1 <= counter.frame_count <= 2
    plain, model = (generator(served_models, dtype=dtype, compile=compiled) for compiled in (False, True))
    for size in (1, 3, 2):
        drawn = [drawing.sample(REQUESTS[:size], 2.0, 2).int() for drawing in (plain, model)]
        assert (drawn[0] - drawn[1]).abs().max() <= 4, "levels of 256"
    assert counter.frame_count <= 8, "else torch gives up compiling"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_compiled_for_real() -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.silu(self.layer(x))

    torch._dynamo.reset()
    module = Small()
    expected = [module(torch.ones(size, 4)) for size in (2, 3)]
    placed(module, ServedClassifier(task="classification", name="c", model="x", compile=True))
    for size, values in zip((2, 3), expected, strict=True):
        torch.testing.assert_close(module(torch.ones(size, 4)), values)


def test_a_gpu_where_torch_sees_none(served_models: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(RuntimeError, match=r"models\.c: device=cuda, but torch sees no GPU on this node; install"):
        classifier(served_models, device="cuda", gpus_per_replica=1)


def test_what_runs_in_every_step_of_nested_parts() -> None:
    """As GLIDE has them: two stages, each with a U-Net, beside an encoder that runs once."""

    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.dtype]:
            y = self.layer(x)
            return y, y.dtype

    module = torch.nn.Module()
    module.unet, module.text, module.upsampler = Part(), Part(), torch.nn.Module()
    module.upsampler.unet = copy.deepcopy(module.unet)
    config = ServedGenerator(task="generation", name="g", model="x", dtype="bfloat16")
    placed(module, config)
    x = torch.ones(1, 2)
    assert module.unet(x)[1] == module.upsampler.unet(x)[1] == torch.bfloat16
    assert module.unet(x)[0].dtype == torch.float32 and module.text(x)[1] == torch.float32


def of(*models: dict[str, Any], **more: Any) -> ServiceConfig:
    given = [{"task": "classification", "name": f"m{i}", "model": "x"} | m for i, m in enumerate(models)]
    return validate(ServiceConfig, {"models": given} | more)


def test_a_cluster_without_gpus() -> None:
    with pytest.raises(ValueError, match=r"GPUs: 2 asked for \(m1 2\), 0 there; set device=cpu and gpus_per_replica=0"):
        require_room(of({}, {"device": "cuda", "gpus_per_replica": 1, "replicas": 2}), {"CPU": 8})


def test_a_cluster_with_too_few_cpus_or_another_resource() -> None:
    scaled = {"replicas": {"min_replicas": 2, "max_replicas": 50}}
    require_room(of(scaled, {"cpus_per_replica": 0.5}), {"CPU": 3.5})
    with pytest.raises(ValueError, match=r"CPUs: 3.5 asked for \(Api 1, m0 2, m1 0.5\), 3 there; set fewer replicas"):
        require_room(of(scaled, {"cpus_per_replica": 0.5}), {"CPU": 3})
    with pytest.raises(ValueError, match=r"fast_disk"):
        require_room(of({"resources": {"fast_disk": 1}}), {"CPU": 8})
