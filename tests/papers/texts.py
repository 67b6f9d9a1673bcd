"""The papers' texts, cut into what can be cited: the lines of a table, the sentences of a section."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

HEADING = re.compile(r"^\s*(?:#+ )?(\d+(?:\.\d+)*)\.? (?=[A-Z])(?!.*\t).{3,90}$")
MARKS = re.compile(r"<[^>]+>|\*+(?=\S)|(?<=\S)\*+")  # HTML and Markdown in the extracted texts
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def of_paper(shared: Path, number: str) -> str:
    """Its text, without mark-up.

    Args:
        shared: the data that lie beside the papers.
    """
    [path] = (shared.parent / "papers").glob(f"{number}_*.txt")
    return MARKS.sub("", path.read_text("utf-8"))


def passages(text: str, place: str) -> list[str]:
    """The lines of `Table N`, or the sentences of `section N.N` or of the abstract.

    Raises:
        LookupError: there is no such place, or nothing in it.
    """
    lines, (kind, _, name) = text.splitlines(), place.partition(" ")
    if kind == "Table":
        found = [" ".join(cells) for cells in table(lines, name)]
    else:
        found = SENTENCE.split(" ".join(" ".join(_section(lines, place)).split()))
    if not "".join(found).strip():
        raise LookupError(f"{place}: not in this text")
    return found


def table(lines: Sequence[str], name: str) -> Iterator[list[str]]:
    """Its cells by line, without the head; what a cell spans is repeated."""
    start = next((at for at, line in enumerate(lines) if re.match(rf"\s*Table {name}\.", line)), len(lines))
    above: list[str] = []
    begun = False
    for line in lines[start + 1 :]:
        if "\t" not in line:
            if begun and line.strip():
                return
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if begun:
            numbers = [place for place, cell in enumerate(cells) if re.match(r"[+-]?\d", cell)]
            spanned = [cell or above[place] for place, cell in enumerate(cells[: numbers[0]])]
            above = spanned + cells[numbers[0] :]
            yield above
        begun = True


def _section(lines: Sequence[str], place: str) -> Iterator[str]:
    wanted, inside = place.removeprefix("section "), False
    for line in lines:
        heading = HEADING.match(line)
        title = heading[1] if heading else line.strip() if line.strip() in ("Abstract", "Peer Reviews") else None
        if title is not None:
            inside = title == wanted
        elif inside:
            yield line


def says(passage: str, words: Sequence[str], numbers: Sequence[str]) -> bool:
    """Whether it holds all words, and the numbers in this order, each as it stands."""
    pattern = ".*?".join(rf"(?<![\d.])(?<!\d,){re.escape(number)}(?![\d]|[.,]\d)" for number in numbers)
    return all(word in passage for word in words) and re.search(pattern, passage) is not None
