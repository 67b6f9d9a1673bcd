"""The commands that documentation shows, as a shell would split them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("cluster/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # language, text; one after the other
NAMED = re.compile(r"# ([\w-]+\.yaml)\b")  # the first line of a config
SHELLS = ("", "bash", "sh")
CODE = re.compile(r"`([^`\n]+)`")
VARIABLE = re.compile(r"[A-Z_]+=\S*")  # before a command


@dataclass(frozen=True)
class Shown:
    """A command in a page."""

    page: str
    words: tuple[str, ...]  # without variables before it

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def in_blocks() -> Iterator[Shown]:
    """Every line of a fenced block that may be a command, whatever program it starts."""
    for page in PAGES:
        for language, block in BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines() if language in SHELLS else ():
                yield from _command(page, line)


def in_sentences(start: str) -> Iterator[Shown]:
    """Code within a sentence that begins so; often only the part that the sentence is about."""
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # what was, in its time
            for text in CODE.findall(BLOCK.sub("", page.read_text())):
                if text.startswith(start):
                    yield from _command(page, text)


def configs_of(page: str) -> dict[str, str]:
    """YAML files that a page shows, by the name in their first line."""
    blocks = [text for language, text in BLOCK.findall((ROOT / page).read_text()) if language == "yaml"]
    return {found[1]: text for text in blocks if (found := NAMED.match(text))}


def _command(page: Path, line: str) -> Iterator[Shown]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return  # no shell's: a table, JSON
    while words and VARIABLE.fullmatch(words[0]):
        words.pop(0)
    if words:
        yield Shown(page.relative_to(ROOT).as_posix(), tuple(words))
