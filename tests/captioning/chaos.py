"""A captioning job on three Ray nodes under random kills, until it is done. Prints what happened as JSON.

    python -m tests.captioning.chaos DIRECTORY KILLS ROWS

The engine is a stand-in: this is about rows. Killed are, in random order, engine processes, their Ray actors, the
driver, and whole nodes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from benchmarks.stand_in_engine import model_directory

ROWS, BLOCK, REPLICAS = 1200, 24, 2
LATENCY, CONCURRENCY = 0.1, 4  # of a replica: seconds a row, rows at a time
# A node that vanished is noticed after three seconds, not twenty: what is tested is what comes after.
NOTICED_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
SHARES = (("engine", 0.35), ("worker", 0.35), ("driver", 0.15), ("node", 0.15))
DRIVER = """
import sys
from benchmarks.stand_in_engine import StandIn
from dermray.captioning import choose, run
from dermray.config import validate
directory = sys.argv[1]
stand_in = StandIn({latency}, {concurrency}, {replicas}, record=directory + "/record", process=True, resource="engines")
choose.prepared = stand_in.prepared
run.run(validate(run.CaptionConfig, {{"output": directory + "/caption", "rows": directory + "/ingest",
                                     "captioner": directory + "/model", "rows_per_block": {block}}}))
"""


def main(directory: str, kills: int, rows: int = ROWS) -> None:
    """Ingest, then caption under fire."""
    from dermray.cluster import prepare_environment

    prepare_environment()
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 4, "object_store_memory": 200_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": NOTICED_SOON})
    nodes = [add_node(cluster) for _ in range(REPLICAS)]
    os.environ["RAY_ADDRESS"] = cluster.address
    (Path(directory) / "record").mkdir()
    model_directory(directory)
    _ingest(directory, rows)
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns()))
    print(f"CHAOS_SEED={seed}", flush=True)
    dice = random.Random(seed)
    planned = [kind for kind, share in SHARES for _ in range(round(share * kills))]
    dice.shuffle(planned)
    driver, done, begun = _driver(directory), list[str](), 0
    while driver.poll() != 0:
        if driver.poll() is not None:
            raise RuntimeError((Path(directory) / "driver.log").read_text()[-4000:])
        time.sleep(dice.uniform(0.1, 1.0))
        # Every second kill waits for a new block: on a slow machine all would hit processes that start.
        if len(done) % 2 and _blocks_begun(directory) == begun:
            continue
        if len(done) < kills:
            kind = planned[len(done)]
            if kind == "node":
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
                nodes.append(add_node(cluster))
            elif not _kill(kind, driver, dice):
                continue  # none of that kind is running right now
            done.append(kind)
            begun = _blocks_begun(directory)
            if kind == "driver":
                driver = _driver(directory)
    cluster.shutdown()
    print(json.dumps({"kills": done}))


def _blocks_begun(directory: str) -> int:
    return len(os.listdir(Path(directory) / "record"))


def add_node(cluster: Any) -> Any:
    """One of two CPUs."""
    # Nodes of one machine share a session's directory: without a place of its own, a new one unpacks the driver's code
    # over what others stand in.
    own = f"runtime_resources_{uuid.uuid4().hex}"
    return cluster.add_node(
        num_cpus=2, resources={"engines": 1}, object_store_memory=150_000_000, runtime_env_dir_name=own
    )


def _ingest(directory: str, rows: int) -> None:
    source = f"sources=[{{source: phantom, count: {rows}, size: 16, broken: 0.0, duplicates: 0.0}}]"
    command = ["ingest", "--config", "ingest/phantom", source, f"output={directory}/ingest"]
    subprocess.run([sys.executable, "-m", "dermray.cli", *command], check=True, stdout=subprocess.DEVNULL)


def _driver(directory: str) -> subprocess.Popen[bytes]:
    log = (Path(directory) / "driver.log").open("a")
    script = DRIVER.format(latency=LATENCY, concurrency=CONCURRENCY, replicas=REPLICAS, block=BLOCK)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    return subprocess.Popen(
        [sys.executable, "-c", script, directory], stdout=log, stderr=subprocess.STDOUT, env=environment
    )


def _kill(kind: str, driver: subprocess.Popen[bytes], dice: random.Random) -> bool:
    ours = psutil.Process().children(recursive=True)
    actors = [process for process in ours if named(process, "MapBatches(_Engine)")]
    if kind == "driver":
        if actors:
            driver.kill()
            driver.wait()
        return bool(actors)
    found = actors if kind == "worker" else [child for actor in actors for child in _children(actor)]
    if found:
        os.kill(dice.choice(found).pid, signal.SIGKILL)
    return bool(found)


def named(process: psutil.Process, name: str) -> bool:
    """Whether a process has `name` in its command line."""
    try:
        return any(name in part for part in process.cmdline())
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [c for c in process.children() if any("spawn_main" in part for part in c.cmdline())]
    except psutil.Error:
        return []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
