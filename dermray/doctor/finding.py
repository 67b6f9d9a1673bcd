"""One line of `dermray doctor`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    level: Literal["ok", "warning", "fault"]
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.what}" + (f"\n         {self.advice}" if self.advice else "")


def ok(what: str) -> Finding:
    """In order."""
    return Finding("ok", what)


def warning(what: str, advice: str) -> Finding:
    """Some runs will be slow, or cannot be done."""
    return Finding("warning", what, advice)


def fault(what: str, advice: str) -> Finding:
    """Runs will fail, or worse."""
    return Finding("fault", what, advice)
