"""The models of a finished run."""

from typing import Any

from dermray import manifest, storage
from dermray.config import validate
from dermray.manifest import Manifest, Result
from dermray.serving.captions.settings import OF_REPLICAS
from dermray.serving.settings import ServiceConfig

# Stages that leave a model, and what it is served for. A run has not all of them.
TASKS = {"train": "generation", "sweep": "classification", "classify": "classification"}
CAPTIONER = {"captioner": "captioning"}  # only where config asks for it
# What of a caption stage's config a served captioner has too, so that it answers as the run's rows were made.
AS_ASKED = ("prompt_set", "metadata", "sampling", "image_side")


def with_models_of_run(config: ServiceConfig) -> ServiceConfig:
    """The config with the models of its `run` behind its own, named after what they are and their stage's key.

    Raises:
        FileNotFoundError: the run has no model. ValueError: a manifest in it cannot be read.
    """
    if config.run is None:
        return config
    run = storage.normalise(config.run)
    tasks = TASKS | CAPTIONER if config.captioner else TASKS
    there = _finished(run)
    found = [result for stage in tasks for result in there if result.manifest.stage == stage]
    if not found:
        state = "no finished stage of " + ", ".join(tasks) if storage.exists(run) else "no such directory"
        raise FileNotFoundError(f"run={config.run}: {state}; give a finished run, or models=[...]")
    if config.captioner and not any(result.manifest.stage in CAPTIONER for result in found):
        raise FileNotFoundError(
            f"captioner=true: {run} has no finished captioner stage; leave it out, or name a captioner in models=[...]"
        )
    of_run = [
        _captioner(result, there) if result.manifest.stage in CAPTIONER else _served(result.manifest, result.uri)
        for result in found
    ]
    models = [*(model.model_dump(mode="json") for model in config.models), *of_run]
    shown = list(dict.fromkeys((*config.runs, run)))  # its pages, too
    settled = {"run": None, "captioner": False, "models": models, "runs": shown}
    return validate(ServiceConfig, config.model_dump(mode="json") | settled)


def _finished(run: str) -> list[Result]:
    """All results right below a run, whatever its stages are named."""
    places = (storage.join(run, name) for name in storage.list_directories(run))
    return [manifest.read(place) for place in places if storage.exists(storage.join(place, "manifest.json"))]


def _served(about: Manifest, uri: str) -> dict[str, Any]:
    kinds = {
        "train": lambda config: config["family"],
        "sweep": lambda config: config["backbones"][0]["name"],  # whose model it keeps
        "classify": lambda config: config["backbone"]["name"],
    }
    # of a timm name such as resnet50.a1_in1k no more than what names of models may have
    name = kinds[about.stage](about.config)
    return {"task": TASKS[about.stage], "name": f"{name[:40]}-{about.key}", "model": uri}


def _captioner(captioner: Result, there: list[Result]) -> dict[str, Any]:
    """As a caption stage of the run asked it, where one did."""
    about = captioner.manifest
    served = {"task": "captioning", "name": f"captioner-{about.key}", "model": captioner.uri}
    asking = (result.manifest for result in there if result.manifest.stage == "caption")
    asked = next((each.config for each in asking if each.inputs.get("captioner") == about.key), None)
    if asked is None:  # another captioner wrote its captions, or it has none
        return served
    engine = {name: value for name, value in asked["engine"].items() if name not in OF_REPLICAS}
    gpus = asked["engine"]["gpus"] * engine["tensor_parallel_size"]
    return served | {name: asked[name] for name in AS_ASKED} | {"engine": engine, "gpus_per_replica": gpus}
