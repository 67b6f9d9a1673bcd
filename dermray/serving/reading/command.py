"""`dermray reader-study codes` and `answers`: readers of a study that the service shows, by its database."""

import re
from collections import Counter
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from dermray import storage
from dermray.config import ConfigError
from dermray.serving.jobs.desk import Desk
from dermray.serving.reading import files
from dermray.serving.reading.book import Book
from dermray.serving.reading.register import HasCode, Register
from dermray.serving.reading.study import Study, opened
from dermray.serving.settings import NAME, ServiceConfig


def codes(config: ServiceConfig, study: str, readers: Sequence[str], renew: bool) -> str:
    """New codes, which nothing else ever shows.

    Raises:
        ConfigError: no such study, a name that cannot be a file's, a reader who has a code. OSError: the study or the
            database is out of reach.
    """
    _check(readers)
    found, book = _opened(config, study)
    try:
        made = book.register.add(found.id, readers, renew)
    except HasCode as error:
        raise ConfigError(
            f"readers: {error} has a code for this study already; leave the name out, or give --renew: a new code ends "
            "the one before, and answers stay"
        ) from None
    width = max(map(len, made))
    lines = [f"  {name:{width}}  {code}" for name, code in made.items()]
    return "\n".join([
        f"{found.about.title}: {found.id}, {len(found.images)} images, page /reader-study/{study}",
        *lines,
        "^ hand each reader their own code and the page's address: codes are shown once and kept nowhere.",
    ])  # fmt: skip


def answers(config: ServiceConfig, study: str, readers: Sequence[str] | None, to: str) -> str:
    """Write `<reader>.csv` of each reader, and `log/<reader>.csv` with times and all revisions.

    Raises:
        ConfigError: no such study or reader. OSError: something is out of reach.
    """
    found, book = _opened(config, study)
    known = {reader.name: reader for reader in book.register.all(found.id)}
    if missing := [name for name in readers or known if name not in known]:
        raise ConfigError(
            f"readers: {missing[0]!r} has no code for this study; there are: {', '.join(known) or 'none'}"
        )
    if not known:
        raise ConfigError(f"study={study}: nobody has a code for {found.id}; `dermray reader-study codes` makes codes")
    place, lines = storage.normalise(to), []
    for name in readers or known:
        history, newest = book.history(known[name]), book.of(known[name])
        storage.write_bytes(storage.join(place, f"{name}.csv"), files.as_form(found, newest))
        storage.write_bytes(storage.join(place, "log", f"{name}.csv"), files.as_log(found, history))
        complete = sum(found.complete(answer.said) for answer in newest.values())
        state = "finished" if known[name].finished is not None else "not finished"
        lines.append(f"{place}/{name}.csv: {complete} of {len(found.images)} images answered, {state}")
    return "\n".join(lines)


def _check(readers: Sequence[str]) -> None:
    for name in readers:
        if not re.fullmatch(NAME, name):
            raise ConfigError(
                f"readers={name!r}: expected up to 64 letters, digits, dots, dashes and underscores, since files of "
                "answers are named so; settings such as jobs.database=... stand before --readers"
            )
    twice = [name for name, count in Counter(map(str.lower, readers)).items() if count > 1]
    if twice:
        raise ConfigError(f"readers: {twice[0]} is there twice; give each a name of its own")


def _opened(config: ServiceConfig, study: str) -> tuple[Study, Book]:
    places = {one.name: one.study for one in config.reader_studies}
    if study not in places:
        there = ", ".join(places) or "none; give the service's config, or reader_studies='[{name: ..., study: ...}]'"
        raise ConfigError(f"study={study}: not in reader_studies; there are: {there}")
    found = opened(study, places[study])
    try:
        return found, Book(Register(Desk(config.jobs).ledger.engine))
    except SQLAlchemyError as error:  # its text may hold a password
        raise OSError(f"jobs.database: out of reach ({type(error).__name__}); is it the service's own?") from None
