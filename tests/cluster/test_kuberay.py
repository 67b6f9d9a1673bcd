"""What `kubectl apply` is given: valid for KubeRay, Kubernetes, Serve and our own configs."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from dermray import __version__
from dermray.commands.arguments import config_path
from dermray.config import load, validate
from dermray.pipeline import command
from dermray.serving.settings import ServiceConfig
from tests.cluster.closed_schemas import CRDS, FILES, validator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
Manifest = dict[str, Any]
PORTS = {"metrics", "as-metrics", "dash-metrics"}  # that KubeRay gives Ray's containers by itself


def manifests() -> list[tuple[str, Manifest]]:
    return [
        (file.name, part) for file in sorted(FOLDER.glob("*.yaml")) for part in yaml.safe_load_all(file.read_text())
    ]


ALL = manifests()
OF_RAY = [pytest.param(part, id=name) for name, part in ALL if part["apiVersion"] == "ray.io/v1"]
JOBS = [pytest.param(part, id=name) for name, part in ALL if part["kind"] == "RayJob"]
OTHERS = [pytest.param(part, id=f"{name}-{part['kind']}") for name, part in ALL if "." not in part["apiVersion"]]


def clusters() -> list[Manifest]:
    """The specs of all Ray clusters."""
    specs = {"RayCluster": lambda spec: spec, "RayService": lambda spec: spec["rayClusterConfig"]}
    return [specs[part["kind"]](part["spec"]) for _, part in ALL if part["kind"] in specs]


def pods(spec: Manifest) -> list[Manifest]:
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("manifest", OF_RAY)
def test_kuberay_knows_every_field(manifest: Manifest) -> None:
    if not CRDS.exists():
        pytest.skip("KubeRay's schemas are not here")
    assert [error.message for error in validator(manifest["kind"]).iter_errors(manifest)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "authOption"), {"mode": "token"}),
        (("spec", "autoscalerOptions", "version"), "v3"),
        (("spec", "headGroupSpec", "template", "spec", "container"), []),
        (("spec", "workerGroupSpecs", 0, "maxReplicas"), "many"),
    ],
)
def test_a_misspelt_field_is_seen(path: tuple[str | int, ...], value: Any) -> None:
    if not CRDS.exists():
        pytest.skip("KubeRay's schemas are not here")
    manifest = yaml.safe_load((FOLDER / "raycluster.yaml").read_text())
    part = manifest
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert not validator("RayCluster").is_valid(manifest)


@pytest.mark.parametrize("manifest", OTHERS)
def test_kubernetes_knows_every_field(manifest: Manifest) -> None:
    validate_plain = pytest.importorskip("kubernetes_validate").validate
    validate_plain(manifest, "1.33", strict=True)


def test_nothing_is_left_unchecked() -> None:
    plain = {"ConfigMap", "Secret", "Service", "StatefulSet"}
    assert {part["kind"] for _, part in ALL} == {*FILES, *plain, "PodMonitor"}


@pytest.mark.parametrize("job", JOBS)
def test_what_a_job_starts_has_a_config_of_ours(job: Manifest) -> None:
    program, script, *arguments = shlex.split(job["spec"]["entrypoint"])
    home = "/home/ray/dermray/"  # the Dockerfile's
    assert program == "python" and script.startswith(home) and (ROOT / script.removeprefix(home)).is_file()
    assert arguments[0] == "--config"
    cls, _ = command(Path(script).stem.replace("_", "-"))
    config = load(cls, config_path(arguments[1]), arguments[2:])
    output: str = config.output  # type: ignore[attr-defined]  # each has one
    assert output.startswith("s3://"), "a pod's own disk goes with it"
    names = {part["metadata"]["name"] for _, part in ALL if part["kind"] == "RayCluster"}
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] in names


def test_the_service_is_that_of_serve_configs() -> None:
    service = yaml.safe_load((FOLDER / "rayservice.yaml").read_text())
    inside = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert inside == yaml.safe_load((ROOT / "serve_configs" / "dermray_gpu.yaml").read_text())
    validate(ServiceConfig, ServeDeploySchema.model_validate(inside).applications[0].args)


@pytest.mark.parametrize("spec", clusters())
def test_a_cluster_asks_for_its_token_keeps_what_it_knows_and_is_no_root(spec: Manifest) -> None:
    secrets = {part["metadata"]["name"]: part["stringData"] for _, part in ALL if part["kind"] == "Secret"}
    assert spec["authOptions"]["mode"] == "token" and "auth_token" in secrets[spec["authOptions"]["secretName"]]
    redis = spec["gcsFaultToleranceOptions"]
    password = redis["redisPassword"]["valueFrom"]["secretKeyRef"]
    assert password["key"] in secrets[password["name"]]
    services = {
        part["metadata"]["name"]: part["spec"]["ports"][0]["port"] for _, part in ALL if part["kind"] == "Service"
    }
    name, port = redis["redisAddress"].split(":")
    assert services[name] == int(port)
    from ray import __version__ as ray_version

    assert spec["rayVersion"] == ray_version
    images = {container["image"] for pod in pods(spec) for container in pod["containers"]}
    assert images == {f"registry.example.com/dermray:{__version__}-gpu"}, (
        "one image: jobs refuse nodes of other versions"
    )
    for pod in pods(spec):
        assert pod["securityContext"]["runAsNonRoot"] and "restartPolicy" not in pod  # which autoscaler v2 refuses
        for container in pod["containers"]:
            assert {next(iter(source.values()))["name"] for source in container["envFrom"]} == {
                "dermray-settings", "dermray-secrets"
            }  # fmt: skip
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_monitor_reads_ports_that_kuberay_opens() -> None:
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} == PORTS


def test_no_secret_is_filled_in() -> None:
    for _, part in ALL:
        if part["kind"] == "Secret":
            assert set(part["stringData"].values()) == {"fill-in"}
    assert "/cluster/kuberay/secret.yaml" in (ROOT / ".gitignore").read_text().splitlines()
