"""The database of jobs: SQLite on a disk, or PostgreSQL for several nodes."""

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, create_engine, event
from sqlalchemy import func as sql
from sqlalchemy.engine import Engine, make_url

SECONDS_FOR_A_LOCK = 20  # that SQLite waits for another process's write

metadata = MetaData()
jobs = Table(
    "dermray_jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),  # name of the API key
    Column("repeat_of", String(64)),  # the client's Idempotency-Key: asked twice, it is one job
    Column("created", Float, nullable=False),  # Unix seconds of the database's clock, like all times here
    Column("changed", Float, nullable=False),
    Column("status", String(16), nullable=False),
    Column("model", String(160), nullable=False),  # with an adapter: two names and a colon
    Column("drawing", Text, nullable=False),  # JSON of `Drawing` without client
    Column("said", Text, nullable=False),  # JSON of what the answer repeats: size, licence, warnings
    Column("images", Integer, nullable=False),  # asked for
    Column("steps", Integer, nullable=False),  # of all images
    Column("steps_done", Integer, nullable=False),
    Column("error", Text),
    Column("holder", String(64)),  # which runner is at it
    Column("held_until", Float),  # after which another may take it over
    Index("dermray_jobs_once", "owner", "repeat_of", unique=True),
    Index("dermray_jobs_waiting", "status", "created"),
)
images = Table(
    "dermray_job_images",
    metadata,
    Column("job", String(32), ForeignKey("dermray_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("seed", String(20), nullable=False),  # of up to 53 bits: text, for SQLite and PostgreSQL alike
    Column("sample_id", String(64)),  # null where the memorisation gate refused the image
    Column("gate_distance", Float),
)
secrets = Table("dermray_secrets", metadata, Column("name", String(32), primary_key=True), Column("value", String(64)))


def opened(url: str) -> Engine:
    """The database at a URL of SQLAlchemy's, with its tables.

    Raises:
        ValueError: no URL, or a driver that is not installed. OSError, sqlalchemy.exc.SQLAlchemyError: it cannot
            be reached.
    """
    engine = _engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure)
    metadata.create_all(engine)
    return engine


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ValueError(f"jobs.database: needs the driver {error.name}: pip install 'dermray[postgres]'") from None
    except OSError:  # SQLite's directory, which may be there later
        raise
    except Exception as error:  # its text may repeat the password that stands in the URL
        raise ValueError(
            f"jobs.database: {type(error).__name__}; expected a URL such as sqlite:////var/lib/dermray/jobs.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from None


def _configure(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={SECONDS_FOR_A_LOCK}000"):
        connection.execute(f"PRAGMA {pragma}")


def clock(engine: Engine) -> Any:
    """The database's own time in Unix seconds, as SQL: nodes' clocks differ."""
    if engine.dialect.name == "sqlite":
        return (sql.julianday("now") - 2440587.5) * 86400.0  # the Julian day of 1970
    return sql.extract("epoch", sql.clock_timestamp())
