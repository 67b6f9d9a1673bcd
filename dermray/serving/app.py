"""The application on Serve: an ingress with the HTTP endpoints, and a deployment for each model."""

from typing import Any

from ray import serve
from starlette.types import ASGIApp

from dermray.config import validate
from dermray.serving.api import api_of
from dermray.serving.calls import Calls
from dermray.serving.classification.replica import Classification
from dermray.serving.door.quotas import Quotas
from dermray.serving.generation import Generation
from dermray.serving.keys import keys_from_environment
from dermray.serving.opening import Place, place_of
from dermray.serving.runs import with_models_of_run
from dermray.serving.service import Service
from dermray.serving.settings import (
    INGRESS,
    Autoscaling,
    Replicas,
    ServedClassifier,
    ServedGenerator,
    ServedModel,
    ServiceConfig,
)

DEPLOYMENTS = {ServedGenerator: Generation, ServedClassifier: Classification}
# Serve's router tries again with pauses of up to 0.5 s once a replica has so many requests: more than ever wait here,
# where the ingress itself bounds what is at work and what waits, and refuses the rest.
UNBOUNDED = 10_000
LOOKED_AT = 2.0  # seconds between looks at a replica: Serve's 10 are how long a dead one is missed, and a look is cheap


@serve.deployment(name=INGRESS)
@serve.ingress()
class Api:
    """The HTTP endpoints. The application is built in each replica, which Serve asks for it after `__init__`."""

    def __init__(self, config: dict[str, Any], handles: dict[str, Any]) -> None:
        self.keys = keys_from_environment()
        quotas = Quotas(lambda: serve.get_replica_context().world_size)
        calls = {name: Calls(handle) for name, handle in handles.items()}
        self.service = Service(validate(ServiceConfig, config), calls, quotas=quotas)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return api_of(self.service, self.keys, served=True)


def build(config: ServiceConfig) -> serve.Application:
    """The application.

    Raises:
        FileNotFoundError, ValueError: a model is not there, or is no model for its task.
    """
    config = with_models_of_run(config)
    places = {model.name: place_of(model.model, model.task) for model in config.models}
    bound = {model.name: _deployment(model, places[model.name], config) for model in config.models}
    ingress: Any = Api
    application: serve.Application = ingress.options(**_options(config.ingress, config)).bind(
        config.model_dump(mode="json"), bound
    )
    return application


def builder(arguments: dict[str, Any]) -> serve.Application:
    """What Serve config files import.

    Raises:
        ConfigError: `args` do not fit `ServiceConfig`. FileNotFoundError, ValueError: see `build`.
    """
    return build(validate(ServiceConfig, arguments, where="args"))


def _deployment(model: ServedModel, place: Place, config: ServiceConfig) -> serve.Application:
    deployment: Any = DEPLOYMENTS[type(model)]
    application: serve.Application = deployment.options(name=model.name, **_options(model, config)).bind(model, place)
    return application


def _options(part: Replicas, config: ServiceConfig) -> dict[str, Any]:
    """As Serve has them. A Serve config file may override each under `deployments`, by the deployment's name."""
    gpus = part.gpus_per_replica if isinstance(part, ServedModel) else 0
    options: dict[str, Any] = {
        "max_ongoing_requests": UNBOUNDED,
        "max_replicas_per_node": part.per_node,
        "ray_actor_options": {"num_cpus": part.cpus_per_replica, "num_gpus": gpus, "resources": part.resources},
        "graceful_shutdown_timeout_s": config.drain_seconds,
        "health_check_period_s": LOOKED_AT,
    }
    if isinstance(part.replicas, Autoscaling):
        return options | {"autoscaling_config": part.replicas.model_dump(exclude_none=True)}
    return options | {"num_replicas": part.replicas}
