"""The application on Serve: an ingress with the HTTP endpoints, and a deployment for each model."""

from typing import Any

from ray import serve
from starlette.types import ASGIApp

from dermray import manifest, storage
from dermray.config import validate
from dermray.serving.api import api_of
from dermray.serving.classification import Classification
from dermray.serving.door.quotas import Quotas
from dermray.serving.generation import Generation
from dermray.serving.keys import keys_from_environment
from dermray.serving.opening import Place, place_of
from dermray.serving.service import Service
from dermray.serving.settings import Autoscaling, ServedClassifier, ServedGenerator, ServedModel, ServiceConfig

DEPLOYMENTS = {ServedGenerator: Generation, ServedClassifier: Classification}
# Serve's router tries again with pauses of up to 0.5 s once a replica has so many requests: more than ever wait here,
# where the ingress itself bounds what is at work and what waits, and refuses the rest.
UNBOUNDED = 10_000


@serve.deployment(max_ongoing_requests=UNBOUNDED)
@serve.ingress()
class Api:
    """The HTTP endpoints. The application is built in each replica, which Serve asks for it after `__init__`."""

    def __init__(self, config: dict[str, Any], handles: dict[str, Any]) -> None:
        self.keys = keys_from_environment()
        quotas = Quotas(lambda: serve.get_replica_context().world_size)
        self.service = Service(validate(ServiceConfig, config), handles, quotas)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return api_of(self.service, self.keys, served=True)


def build(config: ServiceConfig) -> serve.Application:
    """The application.

    Raises:
        FileNotFoundError, ValueError: a model is not there, or is no model for its task.
    """
    config = with_models_of_run(config)
    places = {model.name: place_of(model.model, model.task) for model in config.models}
    bound = {model.name: _deployment(model, places[model.name]) for model in config.models}
    application: serve.Application = Api.bind(config.model_dump(mode="json"), bound)  # type: ignore[attr-defined]  # serve.deployment adds bind
    return application


def with_models_of_run(config: ServiceConfig) -> ServiceConfig:
    """The config with the generator and the classifier of its `run` among the models, named after their stages' keys.

    Raises:
        FileNotFoundError: the run lacks a stage.
    """
    if config.run is None:
        return config
    run = storage.normalise(config.run)
    train, sweep = (manifest.read(storage.join(run, stage), stage) for stage in ("train", "sweep"))
    family, backbone = train.manifest.config["family"], sweep.manifest.config["backbones"][0]["name"]
    models = [
        {"task": "generation", "name": f"{family}-{train.manifest.key}", "model": train.uri},
        {"task": "classification", "name": f"{backbone}-{sweep.manifest.key}", "model": sweep.uri},
    ]
    named = [model.model_dump(mode="json") for model in config.models]
    rest = config.model_dump(mode="json") | {"run": None, "models": [*named, *models]}
    return validate(ServiceConfig, rest)


def builder(arguments: dict[str, Any]) -> serve.Application:
    """What Serve config files import.

    Raises:
        ConfigError: `args` do not fit `ServiceConfig`. FileNotFoundError, ValueError: see `build`.
    """
    return build(validate(ServiceConfig, arguments, where="args"))


def _deployment(model: ServedModel, place: Place) -> serve.Application:
    resources = {"num_cpus": model.cpus_per_replica, "num_gpus": model.gpus_per_replica}
    options: dict[str, Any] = {"name": model.name, "ray_actor_options": resources}
    if isinstance(model.replicas, Autoscaling):
        options["autoscaling_config"] = model.replicas.model_dump()
    else:
        options["num_replicas"] = model.replicas
    deployment: Any = DEPLOYMENTS[type(model)]
    application: serve.Application = deployment.options(max_ongoing_requests=UNBOUNDED, **options).bind(model, place)
    return application
