"""Random kills of a job on Ray nodes of one machine, until it is done: what the chaos.py of each stage shares."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# A node that vanished is noticed after three seconds, not twenty: what is tested is what comes after.
NOTICED_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
STARTS = 5  # of a node that does not start within Ray's seconds: on a busy machine an agent alone imports for longer
Process = subprocess.Popen


@dataclass(frozen=True)
class Job:
    """What is killed, and how to tell that it goes on.

    `kinds` has what dies and how often it does, as shares. "driver" and "node" are known here; of other kinds a process
    out of `victims` dies. Where there is none of these, nothing is killed: the job is only just starting.
    """

    directory: Path  # the driver's log lies there
    driver: list[str]  # its command
    kinds: Mapping[str, float]
    victims: Callable[[str], list[psutil.Process]]  # of "driver" and "node": whatever shows that work is under way
    moved: Callable[[], int]  # another number after each piece of work
    every: int = 2  # of so many kills one waits until the job has moved: else all would hit processes that start
    pause: tuple[float, float] = (0.1, 0.6)  # seconds between looks


def under_fire(job: Job, kills: int, nodes: int = 2, head_cpus: int = 1) -> None:
    """Run a job with kills until it is done. Prints the kinds of kills as JSON, in order.

    Raises:
        RuntimeError: the driver failed by itself; with the end of its log.
    """
    from dermray.cluster import prepare_environment

    prepare_environment()
    from ray.cluster_utils import Cluster

    head = {"num_cpus": head_cpus, "object_store_memory": 200_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": NOTICED_SOON})
    alive = [add_node(cluster) for _ in range(nodes)]
    os.environ["RAY_ADDRESS"] = cluster.address
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns()))
    print(f"CHAOS_SEED={seed}", flush=True)
    dice = random.Random(seed)
    planned = [*job.kinds, *dice.choices([*job.kinds], [*job.kinds.values()], k=kills)][:kills]
    dice.shuffle(planned)
    driver, done, before = _start(job), list[str](), 0
    while driver.poll() is None:
        time.sleep(dice.uniform(*job.pause))
        waits = (len(done) + 1) % job.every == 0
        if len(done) == kills or (waits and job.moved() == before):
            continue
        kind = planned[len(done)]
        if not (found := job.victims(kind)):
            continue
        if kind == "node":
            cluster.remove_node(alive.pop(0), allow_graceful=False)
            alive.append(add_node(cluster))
        elif kind == "driver":
            driver.kill()
            driver.wait()
            driver = _start(job)
        else:
            os.kill(dice.choice(found).pid, signal.SIGKILL)
        done.append(kind)
        before = job.moved()
    if driver.poll() != 0:
        raise RuntimeError((job.directory / "driver.log").read_text()[-6000:])
    cluster.shutdown()
    print(json.dumps({"kills": done}))


def survived(module: str, *arguments: object) -> list[str]:
    """Run a stage's chaos.py in a process of its own: the kinds of kills, in order."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=7000, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    return list(json.loads(done.stdout.splitlines()[-1])["kills"])


def processes(name: str) -> list[psutil.Process]:
    """What this process has started that has `name` in its command line."""
    return [process for process in psutil.Process().children(recursive=True) if _named(process, name)]


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return any(name in part for part in process.cmdline())
    except psutil.Error:
        return False


def add_node(cluster: Any) -> Any:
    """One of two CPUs."""
    # Nodes of one machine share a session's directory: without a place of its own, a new one unpacks the driver's code
    # over what others stand in.
    own = f"runtime_resources_{uuid.uuid4().hex}"
    given = {"num_cpus": 2, "resources": {"engines": 1}, "object_store_memory": 150_000_000}
    for _ in range(STARTS - 1):
        try:
            return cluster.add_node(**given, runtime_env_dir_name=own)
        except Exception as error:  # Ray has no class for it
            if "timed out during startup" not in str(error):
                raise
    return cluster.add_node(**given, runtime_env_dir_name=own)


def _start(job: Job) -> "Process[bytes]":
    with (job.directory / "driver.log").open("a") as log:
        return Process(job.driver, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": os.getcwd()})
