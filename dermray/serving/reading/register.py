"""Who reads which study, and in which browser each of them is at it now."""

import hmac
import secrets as random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, insert, select, update
from sqlalchemy.engine import Connection, Engine

from dermray.serving.jobs.tables import clock
from dermray.serving.keys import digest
from dermray.serving.reading.codes import hash_of, new_code
from dermray.serving.reading.tables import readers, sessions

IDLE = 12 * 3600.0  # seconds without a word after which a session is over
TAKEN, LEFT, RENEWED, FORGOTTEN = "taken over", "logged out", "new code", "idle"


@dataclass(frozen=True)
class Reader:
    """A reader of a study."""

    study: str
    name: str
    seed: str
    finished: float | None  # Unix seconds


class Elsewhere(Exception):
    """The code is in use in another browser, which was heard of so many seconds ago."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in use elsewhere, last {seconds:.0f} s ago")
        self.seconds = seconds


class Ended(Exception):
    """The session is over; `why` is one of the words above, or nothing where there never was one."""

    def __init__(self, why: str | None) -> None:
        super().__init__(why or "no such session")
        self.why = why


class HasCode(Exception):
    """A reader has a code already."""


class Register:
    """The readers of a database. Methods block; each is one transaction.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is out of reach, in every method.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.now = engine, clock(engine)

    def add(self, study: str, names: Sequence[str], renew: bool = False) -> dict[str, str]:
        """A new code for each reader, by name; with `renew` also for those who have one, which then ends.

        Raises:
            HasCode: of a reader who has one, or whose name differs in case alone. Nobody gets a code then.
        """
        codes = {name: new_code() for name in names}
        with self.engine.begin() as connection:
            known = {row.name.lower(): row.name for row in self._all(connection, study)}
            for name, code in codes.items():
                there = known.get(name.lower())
                if there is None:
                    values = {"study": study, "name": name, "code": hash_of(code), "seed": random.token_hex(16)}
                    connection.execute(insert(readers).values(values | {"created": self.now}))
                elif there != name or not renew:  # files of answers are named after readers, whatever their case
                    raise HasCode(there)
                else:
                    of = and_(readers.c.study == study, readers.c.name == name)
                    connection.execute(update(readers).where(of).values(code=hash_of(code)))
                    self._end_all(connection, study, name, RENEWED)
        return codes

    def all(self, study: str) -> list[Reader]:
        """By name."""
        with self.engine.connect() as connection:
            return [_reader(row) for row in self._all(connection, study)]

    def find(self, study: str, code: str) -> Reader | None:
        """Whose code it is, in this study."""
        wanted, found = hash_of(code), None
        with self.engine.connect() as connection:
            for row in self._all(connection, study):  # all, so that the time taken tells nothing about which
                if hmac.compare_digest(wanted, row.code):
                    found = _reader(row)
        return found

    def begin(self, reader: Reader, take_over: bool) -> str:
        """Token of a new session, the reader's only one.

        Raises:
            Elsewhere: there is one already, and it is not to be taken over.
        """
        token = random.token_urlsafe(32)
        with self.engine.begin() as connection:
            self._lock(connection, reader)
            mine = and_(sessions.c.study == reader.study, sessions.c.reader == reader.name, sessions.c.ended.is_(None))
            seen = select((self.now - sessions.c.seen).label("ago")).where(mine)
            ago = [float(row.ago) for row in connection.execute(seen)]
            if (recent := [seconds for seconds in ago if seconds < IDLE]) and not take_over:
                raise Elsewhere(max(0.0, min(recent)))
            self._end_all(connection, reader.study, reader.name, TAKEN if recent else FORGOTTEN)
            values = {"token": digest(token), "study": reader.study, "reader": reader.name}
            connection.execute(insert(sessions).values(values | {"began": self.now, "seen": self.now}))
        return token

    @contextmanager
    def session(self, study: str, token: str) -> Iterator[tuple[Connection, Reader]]:
        """A transaction of who has this session. The reader's row is locked first: nobody takes it over in between.

        Raises:
            Ended: the session is over, or was never one of this study.
        """
        with self.engine.begin() as connection:
            wanted = select(sessions).where(sessions.c.token == digest(token), sessions.c.study == study)
            row = connection.execute(wanted).first()
            if row is None:
                raise Ended(None)
            of = and_(readers.c.study == study, readers.c.name == row.reader)
            connection.execute(update(readers).where(of).values(name=readers.c.name))
            alive = and_(sessions.c.token == row.token, sessions.c.ended.is_(None), sessions.c.seen > self.now - IDLE)
            if connection.execute(update(sessions).where(alive).values(seen=self.now)).rowcount != 1:
                why = connection.execute(select(sessions.c.ended).where(sessions.c.token == row.token)).scalar()
                raise Ended(why or FORGOTTEN)
            yield connection, _reader(connection.execute(select(readers).where(of)).one())

    def reading(self, study: str, token: str) -> Reader:
        """Whose session it is, for looking alone: nothing is locked or written. Raises `Ended`."""
        both = and_(readers.c.study == sessions.c.study, readers.c.name == sessions.c.reader)
        known = and_(sessions.c.token == digest(token), sessions.c.study == study)
        asked = select(readers, sessions.c.ended, (self.now - sessions.c.seen).label("ago")).where(both, known)
        with self.engine.connect() as connection:
            row = connection.execute(asked).first()
        if row is None or row.ended or row.ago >= IDLE:
            raise Ended(None if row is None else row.ended or FORGOTTEN)
        return _reader(row)

    def leave(self, study: str, token: str) -> None:
        """End a session; one that is over stays as it is."""
        mine = and_(sessions.c.token == digest(token), sessions.c.study == study, sessions.c.ended.is_(None))
        with self.engine.begin() as connection:
            connection.execute(update(sessions).where(mine).values(ended=LEFT))

    def _all(self, connection: Connection, study: str) -> Sequence[Any]:
        return connection.execute(select(readers).where(readers.c.study == study).order_by(readers.c.name)).all()

    def _lock(self, connection: Connection, reader: Reader) -> None:
        of = and_(readers.c.study == reader.study, readers.c.name == reader.name)
        connection.execute(update(readers).where(of).values(name=readers.c.name))

    def _end_all(self, connection: Connection, study: str, name: str, why: str) -> None:
        mine = and_(sessions.c.study == study, sessions.c.reader == name, sessions.c.ended.is_(None))
        connection.execute(update(sessions).where(mine).values(ended=why))


def _reader(row: Any) -> Reader:
    return Reader(row.study, row.name, row.seed, row.finished)
