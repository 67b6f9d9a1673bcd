"""What is known of each job. A runner holds one for a while and renews that; who lost it can write no more."""

import json
import secrets as random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy import func as sql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from dermray.serving.jobs.tables import clock, images, jobs, opened, secrets

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
UNFINISHED = ("queued", "running")


@dataclass(frozen=True)
class Job:
    """One job, as the database has it."""

    id: str
    owner: str
    created: float
    changed: float
    status: Status
    model: str
    drawing: dict[str, Any]
    said: dict[str, Any]
    images: int
    steps: int
    steps_done: int
    error: dict[str, Any] | None

    @property
    def finished(self) -> bool:
        """Whether nothing will be done any more."""
        return self.status not in UNFINISHED


@dataclass(frozen=True)
class JobImage:
    """An image of a job."""

    place: int
    seed: int
    sample_id: str | None  # None: the gate refused it
    gate_distance: float | None


class Lost(Exception):
    """Another runner has the job, or it was cancelled."""


class Ledger:
    """The jobs of a database. Methods block; each is one transaction.

    Raises:
        ValueError: no database's URL. sqlalchemy.exc.SQLAlchemyError: it is out of reach, here and in every method.
    """

    def __init__(self, url: str) -> None:
        self.engine: Engine = opened(url)
        self.now = clock(self.engine)

    def add(self, owner: str, repeat_of: str | None, model: str, drawing: dict[str, Any], said: dict[str, Any]) -> str:
        """Id of a new job, or of the one that this client asked for before with the same `repeat_of`."""
        identity, count = random.token_urlsafe(18), len(drawing["seeds"])
        row = {
            "id": identity, "owner": owner, "repeat_of": repeat_of, "created": self.now, "changed": self.now,
            "status": "queued", "model": model, "drawing": json.dumps(drawing), "said": json.dumps(said),
            "images": count, "steps": count * drawing["steps"], "steps_done": 0,
        }  # fmt: skip
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(jobs).values(row))
        except IntegrityError:
            same = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.repeat_of == repeat_of)
            with self.engine.connect() as connection:
                return str(connection.execute(same).scalar_one())
        return identity

    def repeated(self, owner: str, repeat_of: str) -> Job | None:
        """The job that this client asked for before with the same `repeat_of`."""
        same = select(jobs).where(jobs.c.owner == owner, jobs.c.repeat_of == repeat_of)
        with self.engine.connect() as connection:
            row = connection.execute(same).first()
        return _job(row) if row else None

    def unfinished(self, owner: str) -> int:
        """Jobs of an owner that wait or are at work."""
        mine = and_(jobs.c.owner == owner, jobs.c.status.in_(UNFINISHED))
        with self.engine.connect() as connection:
            return int(connection.execute(select(sql.count()).select_from(jobs).where(mine)).scalar_one())

    def get(self, identity: str, owner: str) -> Job | None:
        """A job of this owner's."""
        with self.engine.connect() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == identity, jobs.c.owner == owner)).first()
        return _job(row) if row else None

    def newest(self, owner: str, most: int) -> list[Job]:
        """An owner's jobs."""
        mine = select(jobs).where(jobs.c.owner == owner).order_by(jobs.c.created.desc()).limit(most)
        with self.engine.connect() as connection:
            return [_job(row) for row in connection.execute(mine)]

    def images_of(self, identity: str) -> list[JobImage]:
        """Those that are there, in order."""
        there = select(images).where(images.c.job == identity).order_by(images.c.place)
        with self.engine.connect() as connection:
            return [JobImage(r.place, int(r.seed), r.sample_id, r.gate_distance) for r in connection.execute(there)]

    def cancel(self, identity: str, owner: str) -> bool:
        """Whether it was unfinished, and is cancelled now. Its runner notices when it renews."""
        mine = and_(jobs.c.id == identity, jobs.c.owner == owner, jobs.c.status.in_(UNFINISHED))
        with self.engine.begin() as connection:
            return connection.execute(update(jobs).where(mine).values(self._end("cancelled"))).rowcount == 1

    def claim(self, holder: str, models: Sequence[str], seconds: float) -> Job | None:
        """The next job of these models, with an adapter or without, that nobody is at: of the key with fewest at work,
        and of those the oldest."""
        free = and_(
            jobs.c.status.in_(UNFINISHED),
            or_(jobs.c.model.in_(models), *(jobs.c.model.startswith(f"{name}:", autoescape=True) for name in models)),
            or_(jobs.c.holder.is_(None), jobs.c.held_until < self.now),
        )
        others = jobs.alias()
        at_work = select(sql.count()).where(others.c.owner == jobs.c.owner, others.c.holder.is_not(None))
        turn = select(jobs.c.id).where(free).order_by(at_work.scalar_subquery(), jobs.c.created).limit(1)
        with self.engine.begin() as connection:
            identity = connection.execute(turn).scalar()
            if identity is None:
                return None
            taken = {"holder": holder, "held_until": self.now + seconds, "status": "running", "changed": self.now}
            if connection.execute(update(jobs).where(jobs.c.id == identity, free).values(taken)).rowcount != 1:
                return None  # another runner was faster
            return _job(connection.execute(select(jobs).where(jobs.c.id == identity)).one())

    def renew(self, identity: str, holder: str, seconds: float, steps_done: int) -> None:
        """Go on for so many seconds. Raises `Lost`."""
        with self._held(identity, holder) as connection:
            values = {"held_until": self.now + seconds, "steps_done": steps_done, "changed": self.now}
            connection.execute(update(jobs).where(jobs.c.id == identity).values(values))

    def add_image(self, identity: str, holder: str, image: JobImage) -> None:
        """An image that lies in storage. Raises `Lost`."""
        with self._held(identity, holder) as connection:
            there = images.c.job == identity, images.c.place == image.place
            connection.execute(delete(images).where(*there))  # the same, of a try whose answer was lost
            values = vars(image) | {"job": identity, "seed": str(image.seed)}
            connection.execute(insert(images).values(values))

    def finish(self, identity: str, holder: str, error: dict[str, Any] | None = None) -> None:
        """It succeeded, or failed with an error. Raises `Lost`."""
        with self._held(identity, holder) as connection:
            values = self._end("failed" if error else "succeeded") | {"error": json.dumps(error) if error else None}
            if error is None:
                values["steps_done"] = jobs.c.steps
            connection.execute(update(jobs).where(jobs.c.id == identity).values(values))

    def let_go(self, holder: str) -> None:
        """Of all that a runner holds: others go on at once."""
        with self.engine.begin() as connection:
            connection.execute(
                update(jobs).where(jobs.c.holder == holder).values(holder=None, held_until=None, status="queued")
            )

    def older_than(self, seconds: float) -> list[str]:
        """Finished jobs whose time is over."""
        old = and_(jobs.c.status.not_in(UNFINISHED), jobs.c.changed < self.now - seconds)
        with self.engine.connect() as connection:
            return [str(row.id) for row in connection.execute(select(jobs.c.id).where(old))]

    def remove(self, identity: str) -> None:
        """A job and what is known of its images."""
        with self.engine.begin() as connection:
            connection.execute(delete(images).where(images.c.job == identity))
            connection.execute(delete(jobs).where(jobs.c.id == identity))

    def link_secret(self) -> bytes:
        """By which links are signed: the same for all replicas, and after a restart."""
        found = select(secrets.c.value).where(secrets.c.name == "links")
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(secrets).values(name="links", value=random.token_hex(32)))
        except IntegrityError:
            pass  # it is there
        with self.engine.connect() as connection:
            return bytes.fromhex(connection.execute(found).scalar_one())

    @contextmanager
    def _held(self, identity: str, holder: str) -> Iterator[Connection]:
        """A transaction of who holds the job. Its row is locked first, so that nobody takes it over in between."""
        mine = update(jobs).where(jobs.c.id == identity, jobs.c.holder == holder, jobs.c.status == "running")
        with self.engine.begin() as connection:
            if connection.execute(mine.values(holder=holder)).rowcount != 1:
                raise Lost(identity)
            yield connection

    def _end(self, status: Status) -> dict[str, Any]:
        return {"status": status, "holder": None, "held_until": None, "changed": self.now}


def _job(row: Any) -> Job:
    known = {name: getattr(row, name) for name in Job.__annotations__}
    known |= {name: json.loads(getattr(row, name)) for name in ("drawing", "said")}
    return Job(**known | {"error": json.loads(row.error) if row.error else None})
