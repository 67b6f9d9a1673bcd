"""What readers answered: every revision of every answer, in the order in which they came."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dermray.serving.reading.register import Reader, Register
from dermray.serving.reading.tables import answers, readers


@dataclass(frozen=True)
class Answer:
    """One revision of a reader's answer to an image."""

    image: str
    revision: int
    sent_as: str
    place: int
    said: dict[str, str]
    seconds: float | None
    answered: float


@dataclass(frozen=True)
class Sent:
    """An answer as it comes from a page: `replaces` is the revision that the page knows of, 0 for none."""

    image: str
    place: int
    replaces: int
    sent_as: str
    said: dict[str, str]
    seconds: float | None


class Stale(Exception):
    """The page did not know of the newest answer to this image, which is kept."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"revision {newest} is there")
        self.newest = newest


class Finished(Exception):
    """The reader has finished: nothing is answered any more."""


class Miscounted(Exception):
    """The page took another number of images for answered than there are."""

    def __init__(self, answered: int) -> None:
        super().__init__(f"{answered} are answered")
        self.answered = answered


class Book:
    """Answers of the readers of a register. Methods block; each is one transaction, and raises as `Register`'s do."""

    def __init__(self, register: Register) -> None:
        self.register = register

    def write(self, study: str, token: str, sent: Sent) -> int:
        """Revision of an answer that is kept now, or was already when it was sent before.

        Raises:
            Ended, Finished, Stale: nothing is written.
        """
        try:
            with self.register.session(study, token) as (connection, reader):
                newest = self._newest(connection, reader, sent.image)
                if newest is not None and newest.sent_as == sent.sent_as:
                    return newest.revision
                if reader.finished is not None:
                    raise Finished
                there = newest.revision if newest else 0
                if there != sent.replaces:
                    raise Stale(there)
                values = vars(sent) | {"said": json.dumps(sent.said), "revision": there + 1, "study": study}
                values |= {"reader": reader.name, "answered": self.register.now}
                values.pop("replaces")
                connection.execute(insert(answers).values(values))
                return there + 1
        except IntegrityError:  # another wrote this revision in the same moment
            raise Stale(sent.replaces + 1) from None

    def of(self, reader: Reader) -> dict[str, Answer]:
        """The newest answer to each image that has one."""
        return {answer.image: answer for answer in sorted(self.history(reader), key=lambda one: one.revision)}

    def history(self, reader: Reader) -> list[Answer]:
        """All revisions, as they came."""
        mine = and_(answers.c.study == reader.study, answers.c.reader == reader.name)
        rows = select(answers).where(mine).order_by(answers.c.answered, answers.c.image, answers.c.revision)
        with self.register.engine.connect() as connection:
            return [_answer(row) for row in connection.execute(rows)]

    def finish(self, study: str, token: str, answered: int, columns: Sequence[str]) -> None:
        """End a reader's reading; done twice it is done once.

        Args:
            answered: images that the page takes for answered. columns: all that an answered image has.

        Raises:
            Ended. Miscounted: nothing is ended.
        """
        with self.register.session(study, token) as (connection, reader):
            if reader.finished is not None:
                return
            rows = connection.execute(self._newest_first(reader)).all()
            newest = {row.image: json.loads(row.said) for row in reversed(rows)}
            complete = sum(all(column in said for column in columns) for said in newest.values())
            if complete != answered:
                raise Miscounted(complete)
            of = and_(readers.c.study == study, readers.c.name == reader.name)
            connection.execute(update(readers).where(of).values(finished=self.register.now))

    def _newest(self, connection: Connection, reader: Reader, image: str) -> Answer | None:
        row = connection.execute(self._newest_first(reader).where(answers.c.image == image).limit(1)).first()
        return _answer(row) if row else None

    def _newest_first(self, reader: Reader) -> Any:
        mine = and_(answers.c.study == reader.study, answers.c.reader == reader.name)
        return select(answers).where(mine).order_by(answers.c.revision.desc())


def _answer(row: Any) -> Answer:
    known = {name: getattr(row, name) for name in Answer.__annotations__}
    return Answer(**known | {"said": json.loads(row.said)})
