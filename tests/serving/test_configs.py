"""The Serve config files of the repository, as Serve and the service read them; nothing is started."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from dermray.config import ConfigError, validate
from dermray.serving.app import build, builder
from dermray.serving.run import HTTP
from dermray.serving.settings import ServiceConfig

FOLDER = Path(__file__).parents[2] / "serve_configs"
FILES = ("dermray.yaml", "dermray_autoscaled.yaml", "dermray_gpu.yaml")


def read(name: str) -> tuple[ServeDeploySchema, ServiceConfig]:
    text = yaml.safe_load((FOLDER / name).read_text())
    deployed = ServeDeploySchema.model_validate(text)
    return deployed, validate(ServiceConfig, deployed.applications[0].args)


def uncommented(name: str) -> str:
    """The file with its examples in effect: comments that are YAML, not prose."""
    lines = (FOLDER / name).read_text().splitlines()
    examples = ("# models:", "#   - {", "# limits:", "# deployments:")
    return "\n".join(line.replace("# ", "", 1) if line.lstrip().startswith(examples) else line for line in lines)


def test_all_files_are_tested() -> None:
    assert tuple(sorted(path.name for path in FOLDER.iterdir())) == FILES


@pytest.mark.parametrize("name", FILES)
def test_files_fit_serve_and_the_service(name: str) -> None:
    deployed, config = read(name)
    application = deployed.applications[0]
    assert application.import_path == "dermray.serving.app:builder" and callable(builder)
    for part in (deployed, deployed.http_options, application):
        assert not part.model_extra, "keys that Serve reads over are misspelt"
    assert deployed.http_options.request_timeout_s == HTTP["request_timeout_s"] < config.drain_seconds
    assert deployed.http_options.keep_alive_timeout_s == HTTP["keep_alive_timeout_s"] > 60
    # what may be reached from other machines says so, and what need not be is not
    assert (deployed.http_options.host == "127.0.0.1") == (name == "dermray.yaml")


@pytest.mark.parametrize("name", FILES)
def test_examples_in_comments_are_valid_too(name: str) -> None:
    text = yaml.safe_load(uncommented(name))
    deployed = ServeDeploySchema.model_validate(text)
    application = deployed.applications[0]
    models = {model.name for model in validate(ServiceConfig, application.args).models}
    if name != "dermray_autoscaled.yaml":
        assert text != yaml.safe_load((FOLDER / name).read_text()), "no comment was taken for an example"
        assert {overridden.name for overridden in application.deployments} <= models | {"Api"}
        assert application.deployments


def test_the_gpu_file_uses_gpus_in_bfloat16_and_compiles() -> None:
    _, config = read("dermray_gpu.yaml")
    models: Any = config.models
    assert {(model.device, model.dtype) for model in models} == {("cuda", "bfloat16")}
    assert models[0].compile and sum(m.gpus_per_replica * m.at_first for m in models) == 1.5


def test_autoscaling_is_serves_own() -> None:
    _, config = read("dermray_autoscaled.yaml")
    for part in (config.ingress, *config.models):
        given = part.replicas.model_dump(exclude_none=True)  # type: ignore[union-attr]  # all are autoscaled
        assert given == AutoscalingConfig(**given).model_dump(include=set(given))


def options(config: dict[str, Any], served: Path) -> dict[str, Any]:
    """What reaches Serve, by deployment."""
    from ray.serve._private.build_app import build_app

    models = [
        {"task": "classification", "name": "resnet", "model": str(served / "classifier")} | config.pop("model", {})
    ]
    application = build(validate(ServiceConfig, {"models": models} | config))
    built = build_app(application, name="dermray", route_prefix="/")
    return {deployment.name: deployment for deployment in built.deployments}


def test_replicas_resources_and_patience_reach_serve(served_models: Path) -> None:
    scaled = {"min_replicas": 0, "max_replicas": 3, "target_ongoing_requests": 2, "downscale_delay_s": 5}
    found = options(
        {
            "model": {"replicas": scaled, "cpus_per_replica": 0.5, "resources": {"node:a": 0.01}},
            "ingress": {"replicas": 2, "per_node": 1}, "drain_seconds": 7,
        },
        served_models,
    )  # fmt: skip
    assert set(found) == {"Api", "resnet"}
    assert found["Api"].num_replicas == 2 and found["Api"]._replica_config.max_replicas_per_node == 1
    resnet = found["resnet"]
    assert {name: getattr(resnet._deployment_config.autoscaling_config, name) for name in scaled} == scaled
    assert resnet.ray_actor_options["num_cpus"] == 0.5 and resnet.ray_actor_options["resources"] == {"node:a": 0.01}
    assert {d._deployment_config.graceful_shutdown_timeout_s for d in found.values()} == {7}


def test_a_config_file_may_override_deployments_by_models_names() -> None:
    """Serve names deployments that share a name anew, and then an override would meet another one."""
    with pytest.raises(ConfigError, match="Api is the name of the HTTP endpoints"):
        validate(ServiceConfig, {"models": [{"task": "generation", "name": "Api", "model": "x"}]})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"replicas": {"min_replicas": 3, "max_replicas": 2}}, "min_replicas=3: expected at most max_replicas=2"),
        ({"replicas": {"max_replicas": 2, "initial_replicas": 5}}, "initial_replicas=5: expected 1 to 2"),
        ({"device": "cuda"}, "gpus_per_replica=0: expected more than 0 where device=cuda"),
        ({"gpus_per_replica": 1}, "and else 0; got device=cpu"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"name": "a/b"}, "name='a/b'"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], told: str) -> None:
    model = {"task": "classification", "name": "a", "model": "x"} | wrong
    with pytest.raises(ConfigError) as raised:
        validate(ServiceConfig, {"models": [model]})
    assert told in str(raised.value)


def test_a_name_given_twice() -> None:
    model = {"task": "classification", "name": "a", "model": "x"}
    with pytest.raises(ConfigError, match="a name of its own for each, got a twice"):
        validate(ServiceConfig, {"models": [model, model | {"task": "generation"}]})
