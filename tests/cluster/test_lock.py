"""The lock file: it is what is installed here, and what pyproject.toml allows. `make environment` installs by it, so
that CI's fresh environment shows that it still resolves."""

import importlib.util
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "cluster" / "lock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "cluster" / "lock.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0]), "each once, in order"
    return dict(line.split("==") for line in lines)


def test_each_is_what_pyproject_allows(pinned: dict[str, str], lock: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in lock.LEFT_OUT]
    for line in (*project["dependencies"], *(line for lines in extras for line in lines)):
        requirement = Requirement(line)
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin and Version(pin) in requirement.specifier, f"{line}: locked at {pin}; see `make lock`"


def test_each_is_installed_in_that_version(pinned: dict[str, str], lock: ModuleType) -> None:
    here = lock.pins()
    assert len(here) > 200, "the whole environment"
    other = {name: (here[name], pinned.get(name)) for name in here if here[name] != pinned.get(name)}
    assert not other, f"installed and locked differ: {other}; run `make environment`, or `make lock` after an upgrade"


def test_a_build_is_no_version(lock: ModuleType) -> None:
    assert lock.pins()["torch"] == version("torch").partition("+")[0]
