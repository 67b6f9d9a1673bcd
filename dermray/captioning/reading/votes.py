"""How statements about one thing become one answer."""

from collections.abc import Iterable

from dermray.captioning.reading.clauses import Clause


def vote(clause: Clause, at: int, value: bool) -> bool | None:
    """`value` where the clause affirms the word at a character, its opposite where it denies it, None where neither."""
    status = clause.status(at)
    return None if status == "unclear" else value == (status == "affirmed")


def unanimous(votes: Iterable[bool | None]) -> bool | None:
    """What all who say something say; None where they disagree or nobody does."""
    said = {value for value in votes if value is not None}
    return said.pop() if len(said) == 1 else None
