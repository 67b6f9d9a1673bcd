"""Operations of a generator at full size, counted on tensors without data: no weights, no GPU, no network.

What was counted once is in operations.json, because counting takes minutes; settings that are not there are counted
anew. `python -m benchmarks.papers_operations` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dermray.generators.base import SOURCES, Generator, family
from dermray.generators.frozen import NANO
from dermray.training.settings import TrainConfig, check

COUNTED = "operations.json"
Told = Callable[[str], None]
WITHOUT_LAYERS = ("start_from", "quantization", *SOURCES.values())  # fields of a family's config that change none


@dataclass(frozen=True)
class Training:
    """Operations of a training on one image, and what it keeps."""

    train: int  # in a step
    encode: int  # once ahead; 0 where a step does it
    checkpoint: int  # bytes of one
    sample: int  # bytes of an image and its caption, encoded ahead
    trained: int  # parameters


@dataclass(frozen=True)
class Drawing:
    """Operations of one drawn image."""

    draw: int  # beside its steps
    step: int

    def of(self, steps: int) -> int:
        """A whole image."""
        return self.draw + steps * self.step


@cache
def counted() -> dict[str, dict[str, Any]]:
    """What operations.json has, by name: `what` was counted, and the fields of Training and Drawing."""
    entries: dict[str, dict[str, Any]] = json.loads(files(__package__).joinpath(COUNTED).read_text())
    return entries


def training(config: TrainConfig, told: Told) -> Training:
    """Of a training, from the file or counted now.

    Args:
        told: is given a sentence before minutes go by.

    Raises:
        FileNotFoundError: the configs of its base are neither known nor at hand. ValueError: they do not go together.
    """
    wanted = identity(config)
    for known in counted().values():
        if known.get("what") == wanted:
            return Training(**{name: known[name] for name in Training.__dataclass_fields__})
    told(f"counting a training step of {config.family} on tensors without data; a large model takes minutes")
    return count_training(config)


def drawing(config: TrainConfig, guidance_scale: float, told: Told) -> Drawing:
    """Of what the generator draws that was trained so; as `training`."""
    wanted = identity(config)
    for known in counted().values():
        if known.get("what") == wanted and known["guidance_scale"] == guidance_scale:
            return Drawing(**{name: known[name] for name in Drawing.__dataclass_fields__})
    told(f"counting what {config.family} computes for an image on tensors without data; a large model takes minutes")
    return count_drawing(config, guidance_scale)


def identity(config: TrainConfig) -> dict[str, Any]:
    """All of a training that its operations and its checkpoint depend on, as JSON has it."""
    settings: Any = check(config)
    model = {name: value for name, value in settings.model_dump(mode="json").items() if name not in WITHOUT_LAYERS}
    if config.family == "glide" and model["base"] != NANO:
        model["base"] = "OpenAI's"  # wherever it lies
    return {
        "family": config.family, "model": model, "side": _side(config, settings), "encode_ahead": config.encode_ahead,
        "gradient_checkpointing": config.loop.gradient_checkpointing, "optimizer": config.loop.optimizer,
        "averages": config.loop.ema_decay > 0, "batch_size": _batch(config, settings),
    }  # fmt: skip


def count_training(config: TrainConfig) -> Training:
    """As `training`, whatever the file has."""
    import torch

    from dermray.train_loop.fake_device import DEVICE
    from dermray.training.forecast import CAPTION, of_captions

    with _at_hand(config) as sized:
        forecast, encoded = of_captions(sized, [CAPTION]), 0
        if config.encode_ahead:
            with _built(sized) as model:
                side = _side(config, model.config)
                image = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=DEVICE)
                encoded = operations_of(lambda: model.encode(image, [CAPTION]))
    return Training(
        forecast.flops // sized.loop.batch_size, encoded, forecast.checkpoint, forecast.sample, forecast.trained
    )  # fmt: skip


def count_drawing(config: TrainConfig, guidance_scale: float) -> Drawing:
    """As `drawing`, whatever the file has: by an image with 2 and one with 3 steps."""
    from dermray.generators.base import Request
    from dermray.training.forecast import CAPTION

    with _at_hand(config) as sized, _built(sized) as model:
        request = Request(CAPTION, 0)
        two, three = (operations_of(partial(model.sample, [request], guidance_scale, steps)) for steps in (2, 3))
    return Drawing(draw=two - 2 * (three - two), step=three - two)


def entry(config: TrainConfig, guidance_scale: float) -> dict[str, Any]:
    """A count as operations.json keeps it."""
    both = asdict(count_training(config)) | asdict(count_drawing(config, guidance_scale))
    return {"what": identity(config), "guidance_scale": guidance_scale} | both


def _side(config: TrainConfig, settings: Any) -> int:
    return max(config.buckets, default=settings.image_size)


def _batch(config: TrainConfig, settings: Any) -> int:
    """Images of the step that is counted: of one where all images cost the same, as they do without a prior."""
    # Not by the family's `prior_by`, which asks the hub for the base's commit.
    return config.loop.batch_size if getattr(settings, "prior_prompt", None) is not None else 1


@contextmanager
def _at_hand(config: TrainConfig) -> Iterator[TrainConfig]:
    """The same, of one worker, with configs of published components in the place of their hub ids."""
    settings: Any = check(config)
    with TemporaryDirectory() as folder:
        places = {name: getattr(settings, name, None) for name in ("base", "base_config", "vae", "text_encoder")}
        found = {name: _written(config.family, place, Path(folder) / name) for name, place in places.items() if place}
        if config.family == "glide" and settings.base != NANO:
            found["base"] = folder  # nothing is read there
        model = config.model | {name: place for name, place in found.items() if place}
        one = {"workers": 1, "batch_size": _batch(config, settings), "accumulate": 1, "parallel": "ddp"}
        yield config.model_copy(update={"model": model, "loop": config.loop.model_copy(update=one)})


def _written(name: str, place: str, folder: Path) -> str | None:
    """A directory with a published component's configs; None where the place is none that is known."""
    from dermray.generators.published import bases

    if place in bases.ALONE:
        return bases.write_alone(folder, bases.ALONE[place])
    if place in bases.BASES:
        folder.mkdir(parents=True)
        return bases.write_base(folder, getattr(family(name).Pipeline, "__name__", "Pipeline"), bases.BASES[place])
    return None


@contextmanager
def _built(config: TrainConfig) -> Iterator[Generator]:
    """The generator, of all its layers and no weights."""
    from dermray.generators import bare
    from dermray.train_loop.fake_device import FakeDevice
    from dermray.training.forecast import CAPTION

    with FakeDevice() as device:
        yield bare.build(config.family, check(config), [CAPTION], device.take).eval()


def operations_of(work: Callable[[], Any]) -> int:
    """That torch counts while it works, without gradients."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dermray.training.forecast import ATTENTION

    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        work()
    total: int = counter.get_total_flops()
    return total
