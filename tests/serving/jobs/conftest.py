"""Databases of jobs: SQLite always, PostgreSQL where its server is installed."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dermray.serving.jobs.ledger import Ledger
from tests.conftest import free_port

SERVERS = Path("/usr/lib/postgresql")


def server_program(name: str) -> str | None:
    """A program of PostgreSQL's server; Debian keeps them off the path."""
    return shutil.which(name) or next((str(found) for found in sorted(SERVERS.glob(f"*/bin/{name}"))), None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty database on a server of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'dermray[postgres]'")
    initdb, server = server_program("initdb"), server_program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL's server is not installed: what needs it is not tested here")
    data = tmp_path_factory.mktemp("postgres")
    port = free_port()
    as_user = ["runuser", "-u", "postgres", "--"] if Path.home() == Path("/root") else []  # it refuses to run as root
    if as_user:
        for part in (data, *data.parents[:3]):
            part.chmod(0o755)
        shutil.chown(data, "postgres")
    made = [*as_user, initdb, "-D", str(data), "-U", "dermray", "--auth=trust", "--no-sync"]
    subprocess.run(made, check=True, stdout=-3, cwd="/")
    options = ["-p", str(port), "-k", str(data), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with subprocess.Popen([*as_user, server, "-D", str(data), *options], stderr=-3, cwd="/") as process:
        ready = server_program("pg_isready") or "pg_isready"
        for _ in range(100):
            asked = [ready, "-q", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(asked, check=False).returncode == 0:
                break
            subprocess.run(["sleep", "0.2"], check=True)
        yield f"postgresql+psycopg://dermray@127.0.0.1:{port}/postgres"
        process.terminate()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without jobs."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/below/jobs.db"
    found: str = request.getfixturevalue("postgres")
    from dermray.serving.jobs.tables import metadata

    ledger = Ledger(found)
    metadata.drop_all(ledger.engine)
    ledger.engine.dispose()
    return found


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Without jobs."""
    made = Ledger(url)
    yield made
    made.engine.dispose()
