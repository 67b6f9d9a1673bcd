"""Whether an answer refuses: evidence for it, weighed over the whole answer, against what the answer describes.

A model that disclaims a diagnosis and then describes the lesion has answered. One that cannot see the image has not,
whatever it says of moles in general.
"""

import re
from dataclasses import astuple

from dermray.captioning.reading import parse
from dermray.captioning.reading.clauses import affirmed, clauses
from dermray.captioning.reading.colours import COLOUR
from dermray.captioning.reading.structures import STRUCTURE
from dermray.captioning.reading.typography import plain

ENOUGH = 2  # points from which on an answer is a refusal

IMAGE = (
    r"(?:images?|photo(?:graph)?s?|pictures?|screenshots?|videos?|x-rays?|attachments?)\b"
    r"(?! (?:art[ei]fact|noise|quality))"
)
ADVERBS = (
    r"(?:(?:really|just|currently|also|therefore|simply|actually|directly|clearly|unfortunately|afraid|only|still) )*"
)
CANNOT = (
    r"(?:cannot|can't|can not|could not|couldn't|won't|will not|would not|wouldn't|do not|don't|should not|shouldn't|"
    r"refuse|unable|not possible for me|"
    r"not (?:be )?(?:able|comfortable|permitted|allowed|programmed|designed|qualified|equipped|trained|in a position))"
    r"(?: (?:be able|feel comfortable|have (?:the )?(?:ability|capability|enough expertise|access)))?"
    rf"(?: to)? {ADVERBS}"
)
I_CANNOT = rf"\b(?:i|we)(?:'m| am|'re| are| will|'ll)? {ADVERBS}{CANNOT}"
# "I am an AI and cannot", and "Unable to" at the head of a line.
UNABLE = rf"(?:{I_CANNOT}|(?:^|\b(?:and|but|so|therefore) {ADVERBS}){CANNOT})"
# What one can refuse to do for somebody, as against what one can fail to see in a lesion.
TASK = (
    r"(?:provid|offer|giv|describ|comment|analy[sz]|interpret|evaluat|assess|examin|inspect|identify|engag|discuss|answer)"
    r"(?:e|es|ing|y)?\b"
)
OBJECT = (
    rf"(?:medical|clinical|health|skin|person|moles?|lesions?|{IMAGE}|conditions?|contents?|description|information|"
    r"evaluation|assessment|opinion|analysis|guidance|assistance|questions?|topics?)\b"
)
ADVICE = (
    r"(?:diagnos[ei]s|diagnose|(?:medical|clinical|health) (?:advice|assessments?|opinion)|advice|"
    r"whether .{0,60}\b(?:cancer|malignan|melanoma))"
)
ASK = r"\b(?:please|could you|can you|if you)(?: please)?"

NO_IMAGE = (
    rf"{UNABLE}(?:see|view|access|open|process|load|look at|watch)(?: \w+){{0,4}}? {IMAGE}",
    rf"{UNABLE}to the {IMAGE}",
    rf"\bi (?:do not|don't) (?:actually )?(?:see|have) (?:an?|any|the) {IMAGE}",
    rf"\bno {IMAGE} (?:was |is |has been |were )?(?:attached|provided|uploaded|included|received)\b",
    rf"\b{IMAGE} (?:did not|didn't|could not be|couldn't be|cannot be|failed to) (?:load|process|open|displayed)",
    rf"{ASK} (?:re)?(?:upload|provide|share|attach|send)\b.{{0,40}}\b{IMAGE}",
    rf"{ASK} (?:describe|tell me more|share it|upload it|provide more)\b",
    rf"\bwithout (?:seeing|access to|being able to see) the {IMAGE}|\bi (?:would )?need to see the {IMAGE}",
    rf"^no {IMAGE}\W*$|\b{IMAGE} (?:is|are) (?:not available|unavailable|missing)|{UNABLE}support {IMAGE}",
    r"\btext-(?:based|only)\b|\b(?:image processing|vision) capabilit|\bonly (?:able to )?process text\b",
)
DECLINES_ALL = (
    rf"{UNABLE}(?:be )?(?:help|assist|comply|fulfil|do (?:that|this|so)|support|answer\W*$)",
    rf"{UNABLE}(?:provide|offer|be of) (?:\w+ )?(?:assistance|help)\b",
    r"\b(?:must|need to|have to|will) (?:respectfully )?decline\b|\brequest cannot be\b",
    r"^(?:sorry|sorry,? no|no comment|none|n/a|not applicable|unknown)\W*$|\bno can do\b",
    r"\bthat's not something (?:that )?i (?:can|do|will)\b|\bguidelines (?:prevent|forbid|prohibit)\b",
    r"\bi (?:only|just) (?:handle|read|process|understand) text\b|\bi lack (?:vision|eyes|sight)\b",
    r"\bi(?:'m| am) not going to (?:describe|help|answer|analy[sz]e)\b|\bnot appropriate for me to\b|\brefrain from "
    r"(?:describ|analy[sz]|answer|comment)ing\b",
)
DECLINES = (
    rf"{UNABLE}(?:\w+ ){{0,2}}?{TASK}(?! (?:\w+ ){{0,2}}?{ADVICE})(?: or \w+)?"
    rf"(?: (?:this|that|it)\b| (?:(?!of |whether |if )\w+[',]? ){{0,5}}?{OBJECT})",
    rf"{UNABLE}[^.,;]{{0,60}}\bdescrib(?:e|ing)\b",
    r"\b(?:isn't|is not) something (?:that )?i(?:'m| am| can)|\b(?:beyond|outside|not within)(?: of)? (?:my|what i)\b",
    r"\bi(?:'m| am) (?:programmed|designed) to\b|\b(?:i'd|i would) (?:prefer not|rather not)\b",
    r"\birresponsible of me\b|\bmy purpose is\b|\bnot possible for me to\b",
    r"\b(?:does not|doesn't|do not|don't) allow me to\b|\bviolates?\b.{0,40}\bpolic(?:y|ies)\b",
    r"\b(?:content|usage|safety|ethical|community) (?:policy|policies|guidelines)\b",
    r"抱歉|对不起|很遗憾|无法",
    r"\bnão posso\b|\bno puedo\b|\b(?:kann ich|ich kann)\b.{0,40}\bnicht\b|\bje ne (?:peux|suis)\b",
)
DISCLAIMS_ADVICE = (rf"{UNABLE}.{{0,80}}?\b{ADVICE}",)
MANNERS = (
    r"\b(?:as|i am|i'm) (?:just )?an? (?:ai\b|artificial|(?:large )?language model)",
    r"\bsorry\b(?!-)|\bapologi(?:s|z|es\b)|\bi regret\b|\bi(?:'m| am) afraid\b|\bunfortunately\b|\bsadly\b",
    r"\b(?:consult|seek|see|visit|speak to|contact)\b.{0,40}\b(?:dermatologist|doctor|professional|provider|physician|"
    r"specialist|advice)\b",
)


def _any(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.MULTILINE)


# Points for each kind of sentence. The last two may well stand beside a description, so they count two at most.
DECLINING = ((5, _any(NO_IMAGE)), (5, _any(DECLINES_ALL)), (3, _any(DECLINES)))
DISCLAIMING = ((2, _any(DISCLAIMS_ADVICE)), *((1, _any((pattern,))) for pattern in MANNERS))
DISCLAIMED = 2
# "I cannot help" names nothing that a lesion has, "I cannot identify any streaks" does.
INABILITY = re.compile(rf"(?!\w+ (?:do|should))(?:{I_CANNOT})")
APPEARANCE = re.compile(
    r"\b(?:brown(?:ish)?|pink(?:ish)?|purple|violaceous|yellow(?:ish)?|pigmented|scal(?:e|y|es)|crust\w*|ulcer\w*|raised|"
    r"flat|elevated|round|oval|shiny|pearly|keratotic|dome-shaped|macule|papule|nodule|plaque|patch|erythema\w*|dark|pale)\b"
)
FEATURE = re.compile(
    rf"symmetr|irregular|regular|border|edge|margin|depth|size|diameter|artefact|artifact|{APPEARANCE.pattern}"
    rf"|{COLOUR.pattern}|{STRUCTURE.pattern}"
)
MOST_WORDS = 3  # of appearance, that count


def refuses(answer: str) -> bool:
    """Whether an answer in sentences refuses what it was asked for."""
    text = plain(answer)
    if INABILITY.search(text) and not FEATURE.search(text):
        return True
    declined = sum(points for points, pattern in DECLINING if pattern.search(text))
    disclaimed = sum(points for points, pattern in DISCLAIMING if pattern.search(text))
    evidence = declined + min(disclaimed, DISCLAIMED)
    return evidence >= ENOUGH and evidence - described(answer) >= ENOUGH


def described(answer: str) -> int:
    """How much of a lesion an answer describes: attributes, and words of appearance that its clauses affirm."""
    said = parse(answer).attributes
    attributes = sum(value not in (None, ()) for value in astuple(said))
    words = {word.group() for word in affirmed(clauses(plain(answer)), APPEARANCE)}
    return attributes + min(len(words), MOST_WORDS)
