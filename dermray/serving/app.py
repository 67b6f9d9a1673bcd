"""The application on Serve: an ingress with the HTTP endpoints, and a deployment for each model."""

from typing import Any

from ray import serve
from starlette.types import ASGIApp

from dermray import storage
from dermray.cluster import engine_environment
from dermray.config import validate
from dermray.provenance import signing
from dermray.serving.adapters.settled import with_adapters
from dermray.serving.api import api_of
from dermray.serving.calls import Calls
from dermray.serving.captions import opening
from dermray.serving.captions.replica import Captioning
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.classification.replica import Classification
from dermray.serving.door.quotas import Quotas
from dermray.serving.drawing.gate import gate_of
from dermray.serving.generation import Generation
from dermray.serving.keys import keys_from_environment
from dermray.serving.opening import Place, place_of
from dermray.serving.reading.study import opened
from dermray.serving.reports import listing
from dermray.serving.runs import with_models_of_run
from dermray.serving.service import Service
from dermray.serving.settings import (
    INGRESS,
    Autoscaling,
    Replicas,
    ServedClassifier,
    ServedGenerator,
    ServiceConfig,
)

DEPLOYMENTS: dict[type, Any] = {
    ServedGenerator: Generation, ServedClassifier: Classification, ServedCaptioner: Captioning
}  # fmt: skip
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
        FileNotFoundError, ValueError: a model, its gate or an adapter is not there, or does not fit; or the signer's
            certificate or key do not fit. ImportError: an extra is missing.
    """
    config = with_models_of_run(config)
    config = config.model_copy(update={"runs": listing.require(config.runs)})
    if config.provenance:
        signs = config.provenance.with_absolute_paths()
        signing.opened(signs)  # each replica opens its own: a key that does not fit is told here
        config = config.model_copy(update={"provenance": signs})
    studies = tuple(one.model_copy(update={"study": storage.normalise(one.study)}) for one in config.reader_studies)
    for one in studies:
        opened(one.name, one.study)  # one that is none is told here
    config = config.model_copy(update={"reader_studies": studies})
    places = {model.name: _place(model) for model in config.models}
    guarded = tuple(_with_gate(model, places[model.name]) for model in config.models)
    adapted = tuple(with_adapters(model, places[model.name]) for model in guarded)
    config = config.model_copy(update={"models": adapted})
    bound = {model.name: _deployment(model, places[model.name], config) for model in config.models}
    ingress: Any = Api
    application: serve.Application = ingress.options(**_options(config.ingress, config)).bind(
        config.model_dump(mode="json"), bound
    )
    return application


def _place(model: ServedGenerator | ServedClassifier | ServedCaptioner) -> Any:
    """Where its replicas find it: the second argument of its deployment."""
    return opening.found(model) if isinstance(model, ServedCaptioner) else place_of(model.model, model.task)


def _with_gate(model: Any, place: Place) -> Any:
    """With its gate's place as replicas find it, who may work elsewhere; one that cannot be opened is told here."""
    if not isinstance(model, ServedGenerator) or model.gate is None:
        return model
    gate_of(model.gate, place.version)
    return model.model_copy(update={"gate": storage.normalise(model.gate)})


def builder(arguments: dict[str, Any]) -> serve.Application:
    """What Serve config files import.

    Raises:
        ConfigError: `args` do not fit `ServiceConfig`. FileNotFoundError, ValueError: see `build`.
    """
    return build(validate(ServiceConfig, arguments, where="args"))


def _deployment(model: Any, place: Any, config: ServiceConfig) -> serve.Application:
    deployment: Any = DEPLOYMENTS[type(model)]
    signer = (config.provenance,) if isinstance(model, ServedGenerator) else ()
    application: serve.Application = deployment.options(name=model.name, **_options(model, config)).bind(
        model, place, *signer
    )
    return application


def _options(part: Replicas, config: ServiceConfig) -> dict[str, Any]:
    """As Serve has them. A Serve config file may override each under `deployments`, by the deployment's name."""
    gpus = getattr(part, "gpus_per_replica", 0)
    options: dict[str, Any] = {
        "max_ongoing_requests": UNBOUNDED,
        "max_replicas_per_node": part.per_node,
        "ray_actor_options": {"num_cpus": part.cpus_per_replica, "num_gpus": gpus, "resources": part.resources}
        | ({"runtime_env": {"env_vars": engine_environment(gpus)}} if isinstance(part, ServedCaptioner) else {}),
        "graceful_shutdown_timeout_s": config.drain_seconds,
        "health_check_period_s": LOOKED_AT,
    }
    if isinstance(part.replicas, Autoscaling):
        return options | {"autoscaling_config": part.replicas.model_dump(exclude_none=True)}
    return options | {"num_replicas": part.replicas}
