"""A captioner found, and all that can be wrong with it told, before Ray starts and anything is loaded."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dermray import weights
from dermray.captioning import models, remote
from dermray.captioning.models import Captioner
from dermray.captioning.settings import RemoteConfig, VllmConfig
from dermray.serving.captions.settings import ServedCaptioner


@dataclass(frozen=True)
class Found:
    """What a replica needs to know of its captioner."""

    captioner: Captioner
    host: VllmConfig | RemoteConfig  # with the revision that was resolved
    parts: tuple[str, str]  # what the chat template puts around a question, of a model that vLLM hosts


def found(model: ServedCaptioner) -> Found:
    """The captioner of a config.

    Raises:
        ImportError: vLLM is not installed. FileNotFoundError: no such model. ValueError: it is no captioner, or cannot
            be hosted so, see `hosted.checked`; or the remote endpoint refuses. ConnectionError: it does not answer.
    """
    if model.remote is not None:
        remote.check(model.remote, remote.api_key(model.remote))
        return Found(Captioner(model.remote.model, model.remote.model, None), model.host, ("", ""))
    require_vllm(model.name)
    assert model.model is not None and isinstance(model.host, VllmConfig)
    captioner = models.chosen(model.model, model.engine)
    host = model.host.model_copy(update=captioner.settings)
    small = weights.locate_small(captioner.model, "captioner")
    if not weights.on_hub(small):
        require_vision(model, Path(small))
    from dermray.captioning.hosted import checked

    parts, host = checked(small, host)
    return Found(captioner, host, parts)


def require_vllm(name: str) -> None:
    """Refuse a captioner where there is nothing to host it.

    Raises:
        ImportError: saying what to install.
    """
    if find_spec("vllm") is None:
        raise ImportError(
            f"models.{name}: task=captioning needs vLLM; pip install 'dermray[cpu]' (or 'dermray[gpu]'), or give "
            "remote, an OpenAI-compatible endpoint"
        )


def require_vision(model: ServedCaptioner, directory: Path) -> None:
    """Refuse a directory that holds another kind of model, such as a classifier's.

    Raises:
        ValueError: naming what was expected.
    """
    try:
        said = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        said = {}
    if not isinstance(said, dict) or "architectures" not in said or not said.keys() & {"vision_config", "vision_tower"}:
        raise ValueError(
            f"models.{model.name}: {model.model} holds no vision-language model of transformers (config.json with "
            "architectures and vision_config); for task=captioning give a result of the captioner or the tune-vlm "
            "stage, a model's directory or a hub id"
        )
