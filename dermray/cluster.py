"""Connect to a Ray cluster, or start one on this machine."""

import contextlib
import functools
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from dermray import node_watch, runtime_env, s3

# Every Ray Data operator and every engine stage holds a CPU while it waits, so a machine of two cores must
# offer more logical ones than it has, or pipelines wait for ever.
MINIMUM_LOGICAL_CPUS = 8
LET_IN = 120.0  # seconds after which it is told that a cluster does not let this job in

WORKER_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # a busy machine needs more than Tune's 2 s to free a process for reuse
    "RAY_DEDUP_LOGS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one draws Tune's tables whatever its verbosity
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Python sees what matters as exceptions
}

# A cluster of this machine alone has no spot nodes to watch and no dashboard to tell, and a training of minutes should
# not wait seconds to be looked after: each of the first four is a process or a pause in every training.
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # glibc keeps a training step's tensors for the next step, instead of giving them back and having each page cleared
    # anew: a twentieth of a step on CPUs
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}


# "1" shows what libraries say in workers and at the driver; "0" does not: then a job shows its progress, our warnings
# and results. Where it is not set, a local Ray is quiet. A joined cluster is not: in hour 5 it matters that a node is
# dead, a worker was started again or a disk is full, and log files lie on other machines. A thousand workers do not
# flood the driver: Ray shows a line that many of them print once (RAY_DEDUP_LOGS), and vLLM prints errors alone.
LOGS = "DERMRAY_WORKER_LOGS"
# Each prints every failure's frames, 80 lines of them. What fails is raised, and told once by the command line.
REPEATED = {
    "ray.data.exceptions": logging.CRITICAL,
    "ray.data._internal.execution.streaming_executor_state": logging.CRITICAL,
}
# Loggers of a quiet driver, and from which level on they are worth a line.
QUIET = REPEATED | {
    "ray": logging.WARNING,
    "ray._private.worker": logging.WARNING,  # by itself: Ray's LLM stages call ray.init again, which resets "ray"
    "ray.data": logging.WARNING,
    "ray.data._internal.progress": logging.ERROR,
    "ray.train": logging.ERROR,
    "ray.tune": logging.ERROR,
    "ray.llm": logging.ERROR,
    "ray.serve": logging.WARNING,
    "vllm": logging.ERROR,
}


def prepare_environment() -> None:
    """Set what Ray reads when it is imported; to be called before `import ray`.

    An address in RAY_ADDRESS is joined. Otherwise the local cluster asks for a token like any other.
    """
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if asked_for_logs():
        os.environ["VLLM_LOGGING_LEVEL"] = "INFO"
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"


def asked_for_logs() -> bool:
    """Whether whoever started this wants to see everything."""
    return os.environ.get(LOGS, "0") not in ("", "0")


def _quiet() -> bool:
    """Whether warnings and notices of libraries are left out, at the driver and of workers: see LOGS."""
    return not asked_for_logs() and (LOGS in os.environ or not os.environ.get("RAY_ADDRESS"))


def engine_environment(gpus: float) -> dict[str, str]:
    """What vLLM reads in the process of an engine with so many GPUs."""
    names = {n: os.environ.get(n, value) for n, value in WORKER_ENVIRONMENT.items() if n.startswith("VLLM_")}
    if gpus:
        return names
    # On CPUs vLLM puts its one worker into a third process, to bind threads; the engine's own will do, and a process
    # less imports vLLM.
    return names | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def connect(shared: str | None = None, side_by_side: int = 1) -> Any:
    """Join RAY_ADDRESS (or the job's cluster), or start a local one. Joining twice does nothing.

    Args:
        shared: where all nodes will read and write. side_by_side: stages that a local one is to have room for.

    Raises:
        RuntimeError, ValueError: nodes of a joined cluster have other code, or do not see `shared`.
    """
    prepare_environment()
    import ray

    if not ray.is_initialized():
        if _quiet():
            logging.getLogger("ray").setLevel(QUIET["ray"])
        with _without_notices():
            _start(ray, side_by_side)
        if os.environ.get("RAY_ADDRESS"):
            node_watch.start(ray.get_runtime_context().gcs_address)
    _quieten()
    if os.environ.get("RAY_ADDRESS"):
        _compare_nodes(shared)
    return ray


@functools.cache
def _compare_nodes(shared: str | None) -> None:
    """Once a process and place: it takes a task on every node."""
    import ray

    from dermray import nodes, storage

    if sum(node["Alive"] for node in ray.nodes()) == 1:
        return
    if shared is not None:
        _compare_nodes(None)
        if not storage.is_s3(shared):
            nodes.require_shared(storage.normalise(shared))
        return
    nodes.require_same_software()


def _start(ray: Any, side_by_side: int = 1) -> None:
    quiet = _quiet()
    options: dict[str, Any] = {"log_to_driver": not quiet} | ({"logging_level": QUIET["ray"]} if quiet else {})
    if address := os.environ.get("RAY_ADDRESS"):
        with _told_if_stuck(address), runtime_env.of_driver() as environment:
            ray.init(**options, runtime_env=environment)
        return
    # A local Ray's workers have the driver's interpreter and environment already; saying so costs seconds.
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options |= {
        "address": "local",  # without it Ray joins whatever cluster was last started on this machine
        "num_cpus": side_by_side * max(MINIMUM_LOGICAL_CPUS, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": int(os.environ.get("DERMRAY_OBJECT_STORE_BYTES", 1 << 30)),
    }
    try:
        _init(ray, options)
    except RuntimeError as error:
        if "timed out during startup" not in str(error):
            raise
        print("dermray: Ray did not start within its 30 s, is this machine busy? Trying once more", file=sys.stderr)
        ray.shutdown()
        _init(ray, options)


def _init(ray: Any, options: dict[str, Any]) -> None:
    """ray.init. What it raises of the bare class Exception is a machine's state, which a user can mend."""
    try:
        ray.init(**options)
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise RuntimeError(f"Ray did not start; is this machine short of CPUs, memory or disk? ({error})") from error


@contextlib.contextmanager
def _told_if_stuck(address: str) -> Iterator[None]:
    """Says so where a cluster does not let this process in. Ray (2.60) has no limit of time for it."""
    said = (
        f"dermray: the Ray cluster at {address} has not let this job in for {LET_IN:.0f} s. Look at `ray status`; if "
        "its nodes are well, end this command and start it again: it goes on from here"
    )
    timer = threading.Timer(LET_IN, print, args=(said,), kwargs={"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Leaves out what Ray's C++ says on the way up: which level it logs at, before it heeds it."""
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            said.seek(0)
            for line in said:
                if b"RAY_BACKEND_LOG_LEVEL" not in line:
                    os.write(2, line)


def _quieten() -> None:
    """Ray, Tune and vLLM at the driver: warnings and what they raise, not what they are at."""
    import ray.data
    from ray._private import worker

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # dermray.progress has one line for each stage
    context.execution_options.verbose_progress = False
    context.use_datasource_v2 = False  # the 2.60 default adds seconds to every read of a small set
    # All other faults of S3 are borne by its clients, for as long as `patience` says: Ray's own list would have that
    # done ten times over.
    context.retried_io_errors = [s3.CUT_ANSWER]
    if asked_for_logs():
        return
    for name, level in (QUIET if _quiet() else REPEATED).items():
        logging.getLogger(name).setLevel(level)
    # where this one has a handler, ray.llm gives its modules none of their own, at INFO
    logging.getLogger("ray.llm").addHandler(logging.NullHandler())
    if getattr(worker.print_to_stdstream, "__module__", "") != __name__:
        worker.print_to_stdstream = _without_pool_warnings(worker.print_to_stdstream)


def _without_pool_warnings(show: Any) -> Any:
    """Ray warns of more processes than CPUs; ours wait for one another and are meant to be many."""

    def shown(data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        lines = [line for line in data["lines"] if "worker processes have been started" not in line]
        if lines:
            show(data | {"lines": lines}, *args, **kwargs)

    return shown
