"""Writes `cluster/lock.txt`: every library of dermray's environment with the version that the tests ran with.

    python cluster/lock.py > cluster/lock.txt

A file of constraints for pip: it says which version, and pyproject.toml what is installed at all. Builds of one
version (torch 2.13.0+cpu and 2.13.0) are one line. What the GPU extra brings beside these, torch and vLLM pin.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LEFT_OUT = {"gpu"}  # of dermray's extras: it excludes `cpu`


def needed(name: str, extras: Iterable[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Names of all that an installed library needs, directly or through others; what is not installed is left out."""
    try:
        requirements = [Requirement(line) for line in distribution(name).requires or ()]
    except PackageNotFoundError:
        return
    for extra in ("", *extras):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requirements:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                yield canonicalize_name(requirement.name)
                yield from needed(canonicalize_name(requirement.name), requirement.extras, seen)


def extras() -> set[str]:
    """Of dermray, all that go together."""
    return set(metadata("dermray").get_all("Provides-Extra") or ()) - LEFT_OUT


def pins() -> dict[str, str]:
    """The version of every library of this environment that dermray needs, without the part that names a build."""
    versions = {}
    for name in set(needed("dermray", sorted(extras()), set())) - {"dermray"}:
        try:
            versions[name] = Version(distribution(name).version).public
        except PackageNotFoundError:  # for another system or Python
            continue
    return dict(sorted(versions.items()))


if __name__ == "__main__":
    print("# Made by cluster/lock.py. Python 3.11, Linux x86_64; pip install -c cluster/lock.txt -e '.[cpu,dev]'")
    print("\n".join(f"{name}=={version}" for name, version in pins().items()))
