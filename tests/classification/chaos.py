"""A sweep of stand-in trials on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.classification.chaos DIRECTORY KILLS SEEDS

Killed are, in random order, workers in the midst of a trial, the driver, and whole nodes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.captioning.chaos import NOTICED_SOON, add_node, named

NODES = 2
KINDS = ("worker", "driver", "node")


def main(directory: str, kills: int, seeds: int) -> None:
    """The sweep under fire."""
    from dermray.cluster import prepare_environment

    prepare_environment()
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": 150_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": NOTICED_SOON})
    nodes = [add_node(cluster) for _ in range(NODES)]  # a trial takes two CPUs: none runs on the head
    os.environ["RAY_ADDRESS"] = cluster.address
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns()))
    print(f"CHAOS_SEED={seed}", flush=True)
    dice = random.Random(seed)
    planned = [*KINDS, *dice.choices(KINDS, (0.6, 0.15, 0.25), k=kills)][:kills]
    dice.shuffle(planned)
    driver, done, begun = _driver(directory, seeds), list[str](), 0
    while driver.poll() is None:
        time.sleep(dice.uniform(0.05, 0.4))
        if len(done) == kills or _begun(directory) == begun:  # a kill hits trials under way, not the start after one
            continue
        kind = planned[len(done)]
        if kind == "node":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(add_node(cluster))
        elif kind == "driver":
            driver.kill()
            driver.wait()
            driver = _driver(directory, seeds)
        elif not _kill_worker(dice):
            continue
        done.append(kind)
        begun = _begun(directory)
    if driver.poll() != 0:
        raise RuntimeError((Path(directory) / "driver.log").read_text()[-6000:])
    cluster.shutdown()
    print(json.dumps({"kills": done}))


def _begun(directory: str) -> int:
    place = Path(directory) / "began"
    return len(os.listdir(place)) if place.is_dir() else 0


def _driver(directory: str, seeds: int) -> subprocess.Popen[bytes]:
    log = (Path(directory) / "driver.log").open("a")
    command = [sys.executable, "-m", "tests.classification.stand_in_trials", directory, str(seeds)]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": os.getcwd()})


def _kill_worker(dice: random.Random) -> bool:
    found = [process for process in psutil.Process().children(recursive=True) if named(process, "ImplicitFunc")]
    if found:
        os.kill(dice.choice(found).pid, signal.SIGKILL)
    return bool(found)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
