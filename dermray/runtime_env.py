"""What the workers of a joined cluster get from the driver: dermray's code as it has it, and settings by name.

Otherwise they have what their nodes' `ray start` had: another dermray or none, another S3 endpoint or none. Secrets
stay where they are, because Ray shows a runtime_env in its dashboard, its logs and its exported events.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dermray import patience
from dermray.config import SECRET

PACKAGE = Path(__file__).resolve().parent
# By name, so that no key is sent because somebody chose its name well. Paths of a node's own are not among them.
SENT = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_RETRY_MODE"),
    *("AWS_MAX_ATTEMPTS", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
    *("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM"),
    *("VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS", "TUNE_FUNCTION_THREAD_TIMEOUT_S", "DERMRAY_WORKER_LOGS"),
    patience.VARIABLE,
    *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY"),
)


@contextlib.contextmanager
def of_driver() -> Iterator[dict[str, Any]]:
    """The argument of `ray.init`, which uploads the code while this is entered.

    Of a submitted job's own runtime_env nothing is said again: Ray refuses what both say.

    Raises:
        ValueError: a setting's value is a URL with a password.
    """
    job = _of_job()
    with tempfile.TemporaryDirectory() as directory:
        code = _code(job, Path(directory))
        settings = code.pop("env_vars", {}) | _settings(os.environ)
        new = {name: value for name, value in settings.items() if name not in job.get("env_vars", {})}
        yield code | ({"env_vars": new} if new else {})


def _of_job() -> dict[str, Any]:
    """What `ray job submit` was given, in the process that it started."""
    return dict(json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {})


def _code(job: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The package by itself, copied to `directory` without what Python compiled: Ray names it by its content, so that
    nodes keep it from job to job."""
    comes_along = "working_dir" in job and PACKAGE.is_relative_to(Path.cwd().resolve())
    if comes_along or job.keys() >= {"working_dir", "py_modules"}:
        return {}
    package = directory / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    if "working_dir" in job:
        return {"py_modules": [str(package)]}
    # not py_modules: before those workers look where the driver stands, and there a node may have another checkout.
    # With a working directory of ours Ray leaves these places out, so they follow, for a user's own modules.
    script = str(Path(sys.argv[0]).resolve().parent)
    beside = [*([script] if script in sys.path else []), str(Path.cwd())]
    return {"working_dir": str(directory), "env_vars": {"PYTHONPATH": os.pathsep.join(beside)}}


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of SENT that are set."""
    given = {name: environment[name] for name in SENT if name in environment}
    for name, value in given.items():
        if SECRET.match(value):
            raise ValueError(
                f"{name}: this URL holds a user or password before its host, and Ray would show it; leave them out, "
                "and set credentials in the environment of `ray start` on every node"
            )
    return given
