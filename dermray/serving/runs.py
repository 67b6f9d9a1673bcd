"""The models of a finished run."""

from typing import Any

from dermray import manifest, storage
from dermray.config import validate
from dermray.manifest import Manifest
from dermray.serving.settings import ServiceConfig

# Stages that leave a model, and what it is served for. A run has not all of them.
TASKS = {"train": "generation", "sweep": "classification", "classify": "classification"}


def with_models_of_run(config: ServiceConfig) -> ServiceConfig:
    """The config with the models of its `run` behind its own, named after what they are and their stage's key.

    Raises:
        FileNotFoundError: the run has no model. ValueError: what lies under a stage's name is another stage's result.
    """
    if config.run is None:
        return config
    run = storage.normalise(config.run)
    places = {stage: storage.join(run, stage) for stage in TASKS}
    finished = {
        stage: manifest.read(place, stage)
        for stage, place in places.items()
        if storage.exists(storage.join(place, "manifest.json"))
    }
    if not finished:
        state = "no finished stage of " + ", ".join(TASKS) if storage.exists(run) else "no such directory"
        raise FileNotFoundError(f"run={config.run}: {state}; give a finished run, or models=[...]")
    of_run = [_served(result.manifest, result.uri) for result in finished.values()]
    models = [*(model.model_dump(mode="json") for model in config.models), *of_run]
    return validate(ServiceConfig, config.model_dump(mode="json") | {"run": None, "models": models})


def _served(about: Manifest, uri: str) -> dict[str, Any]:
    kinds = {
        "train": lambda config: config["family"],
        "sweep": lambda config: config["backbones"][0]["name"],  # whose model it keeps
        "classify": lambda config: config["backbone"]["name"],
    }
    # of a timm name such as resnet50.a1_in1k no more than what names of models may have
    name = kinds[about.stage](about.config)
    return {"task": TASKS[about.stage], "name": f"{name[:40]}-{about.key}", "model": uri}
