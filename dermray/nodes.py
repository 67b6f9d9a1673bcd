"""What all nodes of a cluster must have in common, asked of each before work starts: code, versions, and a disk.

A node that differs would fail hours later, or compute something else without a word.
"""

import hashlib
import platform
import uuid
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from dermray import manifest, storage

PACKAGE = Path(__file__).parent
SECONDS = 180  # for the slowest node's answer: a first worker process there may take a minute to start
RETRIES = 2  # on the same node: a worker may die of what other jobs do there


def software() -> dict[str, str]:
    """Of this process: Python, a hash of dermray's own code, and the libraries that decide what comes out."""
    versions = manifest.library_versions()
    return versions | {"python": ".".join(platform.python_version_tuple()[:2]), "dermray": code()}


@lru_cache(maxsize=1)
def code() -> str:
    """Twelve hex digits of the package's Python files and tables: a version number says nothing of a checkout."""
    digest = hashlib.sha256()
    for file in sorted(file for ending in ("py", "yaml") for file in PACKAGE.rglob(f"*.{ending}")):
        digest.update(f"{file.relative_to(PACKAGE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def require_same_software() -> None:
    """Compare every node with this process, whose code workers have been sent: see runtime_env.py.

    Raises:
        RuntimeError: names the nodes that differ, in what, and what to do.
    """
    here = software()
    wrong, install, code = [], set[str](), False
    for node, answer in ask_all(software).items():
        if isinstance(answer, Exception):
            wrong.append(f"node {node} cannot run dermray ({answer})")
        elif differs := {name for name in here.keys() | answer.keys() if here.get(name) != answer.get(name)}:
            told = (
                f"{name} {answer.get(name, 'missing')}, here {here.get(name, 'missing')}" for name in sorted(differs)
            )
            wrong.append(f"node {node} has {'; '.join(told)}")
            code |= "dermray" in differs
            install |= {f"{name}=={here[name]}" for name in differs & here.keys() - {"python", "dermray"}}
    if wrong:
        raise RuntimeError(f"{'. '.join(wrong)}. {_what_to_do(install, code)}")


def _what_to_do(install: set[str], code: bool) -> str:
    if install:
        return f"On these nodes: pip install {' '.join(sorted(install))}"
    if code:  # a submitted job has brought its own
        return "Send the same dermray along: `ray job submit --working-dir .` where this one is"
    return "Install Python and the versions of dermray's pyproject.toml on all nodes, the same as here"


def require_shared(directory: str) -> None:
    """A local path has to mean the same place on every node.

    Raises:
        ValueError: names the nodes that do not see what this process writes to `directory`.
    """
    storage.make_directory(directory)
    probe = Path(directory) / f".{uuid.uuid4().hex}.probe"
    try:
        probe.write_text("dermray looks whether all nodes see this file\n")
        answers = ask_all(_sees, str(probe))
    finally:
        probe.unlink(missing_ok=True)  # a full disk makes the file, and refuses what is in it
    if blind := sorted(node for node, answer in answers.items() if answer is not True):
        raise ValueError(
            f"{directory}: not seen by node(s) {', '.join(blind)} of this cluster; give a path on a disk that all "
            "nodes share, or an s3:// URI"
        )


def _sees(path: str) -> bool:
    return Path(path).exists()


def ask_all(function: Callable[..., Any], *arguments: Any, among: Collection[str] | None = None) -> dict[str, Any]:
    """What `function` says on every living node, by the node's address; an exception where it fails there.

    Args:
        among: ids of the nodes to ask, if not all.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=RETRIES)(function)
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()
             if node["Alive"] and (among is None or node["NodeID"] in among)}  # fmt: skip
    names = {i: name if list(nodes.values()).count(name) == 1 else f"{name}/{i[:6]}" for i, name in nodes.items()}
    asked = {i: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(i, soft=False)).remote(*arguments)
             for i in nodes}  # fmt: skip
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
    answers = {i: _answer(answer) for i, answer in asked.items()}
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # one that has gone meanwhile does no work
    return {names[i]: answer for i, answer in answers.items() if i in alive}


def _answer(asked: Any) -> Any:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        return ray.get(asked, timeout=0)
    except GetTimeoutError:
        return TimeoutError(f"no answer within {SECONDS} s")
    except (RayError, ImportError) as error:
        return RuntimeError((str(error).strip() or type(error).__name__).splitlines()[-1])
