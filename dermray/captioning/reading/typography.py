"""One alphabet for all readers of answers: what models decorate their words with, taken off in one place.

Models write the same sentence with straight or curly apostrophes, hyphens of five kinds, bold marks, tables and
characters of no width. A rule that knows one spelling must meet no other.
"""

import re
import unicodedata

# NFKC keeps curly apostrophes and breaks an acute accent in two, so these are mapped first.
APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4\u0060\uff07"
QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
HYPHENS = "\u2010\u2011\u2012\u2013\u2212"  # an en dash joins blue and gray
DASHES = "\u2014\u2015"  # these part clauses
SPACES = "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
KEYS = str.maketrans(
    dict.fromkeys(APOSTROPHES, "'")
    | dict.fromkeys(QUOTES, '"')
    | dict.fromkeys(HYPHENS, "-")
    | dict.fromkeys(DASHES, " - ")
    | dict.fromkeys(SPACES, " ")
    | dict.fromkeys(INVISIBLE, "")
)
TABLE_RULE = re.compile(r"(?m)^[ \t]*\|?[ \t:|-]*-{2,}[ \t:|-]*$\n?")
TABLE_ROW = re.compile(r"(?m)^[ \t]*\|(.+?)\|?[ \t]*$")
EMPHASIS = re.compile(r"\*\*|__|`+|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)")
TITLE = re.compile(r"(?m)^[ \t]*(?:#+[ \t]+(.+?)|(?:\*\*|__)([^*_.\n]{1,40}?):?(?:\*\*|__)):?[ \t]*$")
BULLET = re.compile(r"(?m)^[ \t]*(?:[-*+>#\u2022\u00b7]+[ \t]+|\d{1,2}[.)][ \t]+|\(?[A-Za-z][.)][ \t]+)")
WRAPPED = re.compile(r"(?<=[\w,])[ \t]*\n[ \t]*(?=[a-z])")  # a line that goes on in the next one


def typed(text: str) -> str:
    """The same words as a keyboard types them: straight quotes, plain hyphens and spaces, nothing invisible.

    Harmless to meaning, so captions are kept in this form.
    """
    return text.translate(KEYS)


def plain(text: str) -> str:
    """Lower-case words for readers: `typed`, NFKC, without Markdown.

    A row of a table becomes `head: cell; cell`, a title `title:`.
    """
    text = WRAPPED.sub(" ", unicodedata.normalize("NFKC", typed(text)))
    text = BULLET.sub("", TITLE.sub(r"\1\2:", text))  # before emphasis, whose asterisk may be a bullet
    if "|" in text:
        text = TABLE_ROW.sub(_row, TABLE_RULE.sub("", text))
    return EMPHASIS.sub("", text).strip().lower()


def _row(row: re.Match[str]) -> str:
    head, *cells = (cell.strip() for cell in row.group(1).split("|"))
    return f"{head}: {'; '.join(cells)}"
