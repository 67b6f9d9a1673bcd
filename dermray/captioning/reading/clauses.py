"""Clauses of an answer, and for each word in them: affirmed, denied, or neither.

After NegEx (Chapman et al., J Biomed Inform 2001): triggers open a scope that conjunctions and punctuation close; some
words only look like negations ("not only"). Where the words leave it open (questions, "may", "if", comparisons) the
status is unclear, and a reader learns nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Status = Literal["affirmed", "denied", "unclear"]
Span = tuple[int, int]

SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)\.(?=\s|$)|[;!\n]|(?<=\?)")
SEEN = (
    r"(?:seen|visible|present|evident|observed|noted|identified|detected|apparent|appreciated|found|discernible|"
    r"made out)"
)
TO_SEE = r"(?:see|identify|find|detect|observe|discern|make out|appreciate)"
VERBS = (
    r"is|are|was|were|has|have|had|may|might|could|can|cannot|would|should|shows?|exhibits?|displays?|appears?|seems?|"
    r"looks?|contains?|lacks?|does|do|did|varies|demonstrates?"
)
# "and" joins clauses where a subject or a verb follows, and words elsewhere.
BREAK = re.compile(
    r"\s*(?:[:()]|(?<=\s)-(?=\s)|,?\s*\b(?:but|however|although|though|whereas|while|yet|except|because|since|which)\b"
    rf"|,\s*(?=(?:the|its|it|there|with|they|this|i)\b)|,?\s*\band\s+(?=(?:the|its|it|there|with|{VERBS})\b))\s*"
)
HEADING = re.compile(r"(?P<head>[a-z][\w /()&,-]{0,50}?)\s*(?::|\s-(?=\s))\s*(?P<rest>.*)")
DENYING_HEADING = re.compile(rf"(?:absent|missing|not {SEEN}|none|negative)\b")  # "absent: streaks, veil"
VERDICT = re.compile(
    rf"(?:(?P<yes>yes|positive|{SEEN}|(?:mild|slight|moderate|marked|significant|severe|high))"
    rf"|(?P<no>no|none|nil|absent|negative|not {SEEN}))(?=\s*(?:[,.]|$))[,.\s]*"
)

PSEUDO_NEGATIONS = re.compile(r"\b(?:not (?:only|just|merely|simply)|no (?:doubt|question)|without (?:a )?doubt)\b")
# What follows these is denied, over "and" ...
OVER_AND = (
    r"without|lack(?:s|ed|ing)?(?: of)?|absence of|free (?:of|from)|devoid of|neither|nor|(?:do|does|did) not|none of|"
    rf"(?:cannot|could not|unable to|not able to) (?:clearly )?{TO_SEE}"
)
# ... and after these up to "and", which leaves it open: "no streaks and globules".
UP_TO_AND = r"no|not|never|rather than|instead of|negative for"
DENIES = re.compile(rf"\b(?:(?P<over_and>{OVER_AND})|{UP_TO_AND})\b")
# What stands before these is denied.
DENIED = re.compile(
    rf"\b(?:(?:is|are|was|were) )?(?:absent|lacking|missing|not (?:clearly |readily )?(?:be )?{SEEN})\b"
)
SCOPE_END = re.compile(r"\b(?:with|showing|(?<!such )as)\b")
# "Not entirely smooth" is not rough: the degree is denied and the thing left open.
DEGREE = re.compile(
    r"\s*(?:an? )?(?:entirely|perfectly|completely|fully|totally|wholly|strictly|exactly|very|highly|particularly|"
    r"especially|overly|markedly|strongly|always|necessarily|marked|pronounced|gross|severe|major|quite|all)\b"
)
# These leave open what follows, up to a comma or "and".
HEDGES = re.compile(
    r"\b(?:possibl[ey]|perhaps|maybe|suspected|questionable|probabl[ey]|likely|almost|nearly|close to|than|unlike|"
    r"suggest(?:s|ing|ive)?(?: of)?|hints? of|concerning for|minimal|hardly|barely|scarcely)\b"
)
HEDGE_END = re.compile(r",|\band\b|$")
# These leave open the whole clause. "Can be seen" and "would describe it as" are plain statements.
OPEN = re.compile(
    rf"\b(?:if|whether|may|might|(?:could|can|cannot|would|should)(?! (?:be )?(?:clearly )?(?:{SEEN}|{TO_SEE}|"
    r"described?|say|characteri[sz]ed?|call|note)\b)|often|usually|typically|refers? to|in general|regarding|"
    rf"in terms of|as for|with re(?:spect|gard) to|(?:hard|difficult|unable|not able|not possible) to(?! {TO_SEE}\b)|"
    r"(?:look|monitor|check|watch|assess|evaluat|examin|judg)(?:e|es|ed|ing)?\b.*\bfor|no comment|warning signs?|"
    r"criteria|tends? to|not (?:think|believe)|not (?:clear|certain|sure) (?:that|if))\b"
)
# These leave open the whole sentence: conditions, and what is said of lesions at large ("melanomas are asymmetric").
LESIONS = r"(?:moles|lesions|n(?:a)?evi|melanomas|melanoma(?= (?:is|has|can|often|usually|typically))|growths)"
AT_LARGE = re.compile(
    rf"^(?:if|unless|when(?:ever)?)\b|\bin {LESIONS}\b"
    rf"|^(?:(?!two|both|these|those|several|multiple|many)\w+ )?{LESIONS}\b"
    r"|\ban? (?:typical|normal|common|ordinary) (?:mole|lesion|n(?:a)?evus)\b"
)
COPULA = re.compile(r"\b(?:is|are|was|were)\b")
NO_TOPICS = re.compile(r"(?!)")


@dataclass(frozen=True)
class Clause:
    """A stretch of one sentence in which a negation holds.

    Attributes:
        text: lower-case words. topic: the heading it stands under ("border: irregular"), or "".
        before: the clauses before it in the same sentence, whose subject it may share.
    """

    text: str
    topic: str = ""
    before: tuple[str, ...] = ()

    def status(self, at: int) -> Status:
        """What the clause says of the word that begins at a character."""
        if any(start <= at < end for start, end in self._open):
            return "unclear"
        return "denied" if any(start <= at < end for start, end in self._denied) else "affirmed"

    @cached_property
    def _denied(self) -> list[Span]:
        return [denied for denied, _ in self._scopes] + [
            (_subject_start(self.text, m.start()), m.start()) for m in DENIED.finditer(self.text)
        ]

    @cached_property
    def _open(self) -> list[Span]:
        if OPEN.search(self.text) or any(AT_LARGE.search(part) for part in (self.text, *self.before)):
            return [(0, len(self.text))]
        hedged = [(m.start(), _end(HEDGE_END, self.text, m.end(), len(self.text))) for m in HEDGES.finditer(self.text)]
        return hedged + [left_open for _, left_open in self._scopes]

    @cached_property
    def _scopes(self) -> list[tuple[Span, Span]]:
        """For each trigger: what it denies, and what it leaves open."""
        backward = [m.span() for m in DENIED.finditer(self.text)]  # the "not" of "not seen" looks back
        return [
            _scope(self.text, m.end(), m["over_and"] is not None)
            for m in DENIES.finditer(self.text)
            if not any(start <= m.start() < end for start, end in backward)
        ]


def _scope(text: str, start: int, over_and: bool) -> tuple[Span, Span]:
    end = _end(SCOPE_END, text, start, len(text))
    comma = text.find(",", start, end)
    # A comma ends the scope, but not in a list: "no red, white or black"
    joints = (" or ", " nor ", " and ") if over_and else (" or ", " nor ")
    if comma >= 0 and all(text.find(joint, comma, end) < 0 for joint in joints):
        end = comma
    if DEGREE.match(text, start):
        return (start, start), (start, end)
    joint = -1 if over_and else text.find(" and ", start, end)
    return ((start, end), (end, end)) if joint < 0 else ((start, joint), (joint, end))


def _end(closing: re.Pattern[str], text: str, start: int, default: int) -> int:
    found = closing.search(text, start)
    return found.start() if found else default


def _subject_start(text: str, end: int) -> int:
    """Where the subject of "... is absent" begins."""
    verbs = [m.end() for m in COPULA.finditer(text, 0, end)]
    return max(0, text.rfind(" with ", 0, end), *(text.rfind(",", verb, end) for verb in verbs), *verbs)


def clauses(text: str, topics: re.Pattern[str] = NO_TOPICS) -> Iterator[Clause]:
    """All clauses of a `typography.plain` text but its questions.

    "Asymmetry: absent" becomes "there is no asymmetry"; what else stands after a heading that `topics` knows is read
    under that heading, to the end of its line, or of the next one where the heading has a line of its own.
    """
    topic, alone = "", False
    for line in _uncontracted(PSEUDO_NEGATIONS.sub("", text)).split("\n"):
        topic = topic if alone else ""
        for sentence in filter(None, (part.strip(" .") for part in SENTENCE_END.split(line))):
            heading = HEADING.match(sentence)
            if heading and DENYING_HEADING.match(heading["head"]):
                continue
            alone = False
            if heading and topics.search(heading["head"]):
                topic, sentence = heading["head"], heading["rest"]
                alone = not sentence
                if verdict := VERDICT.match(sentence):
                    yield Clause(f"there is {'no ' if verdict['no'] else ''}{topic}")
                    sentence = sentence[verdict.end() :]
            yield from _parts(sentence, topic)


def _parts(sentence: str, topic: str) -> Iterator[Clause]:
    if sentence.endswith("?"):
        return
    parts = [part for part in BREAK.split(sentence) if part]
    for i, part in enumerate(parts):
        yield Clause(part, topic, tuple(parts[:i]))


def _uncontracted(text: str) -> str:
    text = text.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
    return text.replace("can not", "cannot")


def affirmed(said: Iterable[Clause], words: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Where clauses say one of the words and neither deny it nor leave it open."""
    for clause in said:
        yield from (word for word in words.finditer(clause.text) if clause.status(word.start()) == "affirmed")
