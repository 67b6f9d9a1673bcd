"""Shared fixtures: sample data, an S3 server process, one Ray, a small run. quickstart.py has trained models."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dermray.cluster import prepare_environment

pytest_plugins = ["tests.quickstart"]
SHARED = Path(__file__).parent.parent.parent / "shared"


def pytest_configure() -> None:
    """Ray notes its newest cluster in its temporary directory, and a job submitted to one cluster then runs on another:
    the tests have a directory of their own, with a short name, because sockets lie below it."""
    prepare_environment()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # tests tell nobody; each Ray would have two processes more for it
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = (
        "true"  # a server would need all of MLflow; read by workers, so set before Ray
    )
    os.environ["OPENAI_API_KEY"] = "a-key"  # of the tests' own endpoints; actors read it where they run
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="state", dir="/tmp")  # of services that keep jobs
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    # Machines are at times many times slower; how long an example takes is no matter of these tests.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_unconfigure() -> None:
    """Ray's logs of these tests are not kept."""
    for place in ("RAY_TMPDIR", "XDG_STATE_HOME"):
        shutil.rmtree(os.environ[place], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for `-n 2 --dist loadgroup`, each run by one process, so that what its tests share is made once: what
    needs the quickstart, a running cluster, the service, the session's Ray; all others by their files. Slow ones come
    first: of what comes last much is needed to keep two processes busy until both end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("slow"):
            # Many processes that wait for one another: one of them may give up where the machine stands still for a
            # minute. What fails twice fails; what failed once is listed as RERUN.
            item.add_marker(pytest.mark.flaky(reruns=1))
        if item.get_closest_marker("xdist_group"):
            continue  # two groups of a test are a third one, named after both
        if "cluster" in fixtures:
            item.add_marker(pytest.mark.xdist_group("cluster"))
        elif "quickstart" in fixtures:
            item.add_marker(pytest.mark.xdist_group("quickstart"))
        elif "live" in fixtures:
            item.add_marker(pytest.mark.xdist_group("live"))
        elif {"local_ray", "confounded"} & set(fixtures):  # the latter is a classifier that some of both use
            item.add_marker(pytest.mark.xdist_group("ray"))
        else:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and tables, where they are."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: real images and metadata tables are not here")
    return SHARED / "data"


def free_port() -> int:
    """A port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_family(process: "subprocess.Popen[bytes]", patience: float = 15) -> None:
    """A process that leads its session, and all that it started, killed after so many seconds. `ray stop` would end
    every Ray of this machine."""
    import psutil

    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    os.killpg(process.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=patience)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def kill_family(pid: int) -> None:
    """A process and all that it started, killed at once: no time to write anything more."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        others = leader.children(recursive=True)
        for member in (leader, *others):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(others, timeout=15)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a real S3 server process (moto)."""
    port = free_port()
    command = [sys.executable, "-m", "tests.s3_server", str(port)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parent.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        for _ in range(150):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def s3_environment(endpoint: str) -> dict[str, str]:
    """What boto3 and pyarrow read."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """URI of an empty bucket on the S3 server."""
    import boto3

    for name, value in s3_environment(s3_server).items():
        monkeypatch.setenv(name, value)
    name = "b" + str(abs(hash(request.node.nodeid)))[:16]
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory on local disk and one in S3: the same test runs on both."""
    return str(tmp_path) if request.param == "local" else request.getfixturevalue("bucket")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for all tests of the session that need no cluster of their own."""
    from dermray.cluster import connect

    ray = connect()
    yield
    ray.shutdown()


def pytest_runtest_call(item: pytest.Item) -> None:
    """Where a Ray of their own took its place for some tests, it is started anew for the next that asks for it."""
    if "local_ray" in getattr(item, "fixturenames", ()):
        from dermray.cluster import connect

        connect()


@contextlib.contextmanager
def ray_of_its_own(**environment: str) -> Iterator[None]:
    """A Ray whose processes have these variables, in the place of the session's."""
    import ray

    from dermray.cluster import connect

    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        connect()
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def small_run(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ingest`, `caption` and `train` of 160 phantoms. Captions are a stand-in's, the generator saw five batches:
    for tests that need rows and a model, whatever these say."""
    from benchmarks.stand_in_engine import StandIn, model_directory
    from dermray.captioning import choose
    from dermray.captioning import run as captioning
    from dermray.config import validate
    from dermray.datasets import ingest
    from dermray.training import run as training

    run = tmp_path_factory.mktemp("small")
    source = {"source": "phantom", "count": 160, "size": 32}
    ingest.run(validate(ingest.IngestConfig, {"output": f"{run}/ingest", "sources": [source]}))
    captions = {"output": f"{run}/caption", "rows": f"{run}/ingest", "captioner": model_directory(str(run))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "prepared", StandIn().prepared)
        captioning.run(validate(captioning.CaptionConfig, captions))
    model = {"image_size": 32, "width": 32, "blocks": 1, "stem_width": 8}
    loop = {"steps": 5, "batch_size": 8}
    config = {"output": f"{run}/train", "rows": f"{run}/caption", "model": model, "loop": loop}
    training.run(validate(training.TrainConfig, config))
    return run


def call_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """`dermray ...` in this process: exit code, stdout, stderr. A Ray that runs here is used."""
    from dermray import cli

    capsys.readouterr()
    try:
        cli.main(list(arguments))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def run_cli(
    *arguments: str, timeout: float = 300, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`dermray ...` as a user types it, in a process of its own."""
    command = [sys.executable, "-m", "dermray.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=os.environ | (environment or {}), check=False
    )
