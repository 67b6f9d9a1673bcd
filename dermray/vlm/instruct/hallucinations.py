"""What an answer states of the patient and the diagnosis, by rule: against the row's metadata, or out of thin air.

Only what its clauses affirm: a differential diagnosis, a "might" and a denial state nothing.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dermray.captioning.audit.mentions import compare, said_ages, said_in, said_sexes
from dermray.captioning.compose import ENTITY_NAMES
from dermray.captioning.reading.clauses import Clause, affirmed
from dermray.captioning.reading.typography import plain

DIAGNOSES = {
    "akiec": r"actinic keratos[ie]s|solar keratos[ie]s|bowen'?s? disease|(?:squamous cell )?carcinoma in situ",
    "bcc": r"basal cell carcinomas?|bccs?",
    "bkl": r"seborrh?o?eic keratos[ie]s|benign keratos[ie]s|(?:solar|senile) lentig(?:o|ines)|"
    r"lichen planus-like keratosis",
    "df": r"dermatofibromas?",
    "mel": r"melanomas?|lentigo maligna",
    "nv": r"(?:naev|nev)(?:us|i)",
    "vasc": r"(?:ha?em)?angiomas?|angiokeratomas?|pyogenic granulomas?",
    "scc": r"squamous cell carcinomas?(?! in situ)",
}
NEAR = {"akiec": {"scc"}, "scc": {"akiec"}}  # stages of one disease, which sources draw apart in different places
# A word that states, at most six words before a diagnosis: to name one is not to state it.
STATES = (
    r"(?:\b(?:is|are|was|represents?|shows?|diagnos(?:is|ed|tic)(?: is| of| as|:)?|consistent with|compatible with|"
    r"typical (?:of|for)|characteristic of|classic (?:of|for)|pathognomonic for|in keeping with|appears?(?: to be)?)\b)"
    r"(?: (?:a|an|the|of|that|this|lesion|diagnosis|most|clearly|clinically|dermoscopically|with|superficial|spreading|"
    r"nodular|ulcerated|amelanotic|sclerosing|inflamed|irritated|dysplastic|atypical|pigmented|melanocytic|common|acquired|congenital|junctional|compound|dermal|intradermal|blue|early|invasive|"
    r"malignant|benign|classic|typical)\b){0,6} "
)
# "No feature of a benign nevus is typical of melanoma" and the like compare, they do not state.
COMPARES = re.compile(
    r"\b(?:differential|rule out|exclude|excluded|versus|vs|mimic\w*|resembl\w+|similar|like|distinguish\w*|"
    r"differentiat\w*|such as|as opposed|less|more|criteri\w+|features? of|unlike|than|alternative\w*|reminiscent)\b"
)
VERDICTS = {True: r"malignant|cancerous", False: r"benign|harmless"}
SHARED = r"(?: (?:lesion|tumou?r|process|growth|neoplasm))?"
HISTORY = re.compile(
    r"\b(?:has|had|have|with) (?:a |an )?(?:known |long |strong |personal |family |past |medical )*history of\b"
    r"|\bfamily history (?:is|of)\b"
    r"|\bpatient (?:has )?(?:also )?(?:report(?:s|ed)?|complain(?:s|ed)?|noticed|noted|states?|denies|describes|"
    r"mentions)\b"
    r"|\b(?:present|persisted|growing|existed|unchanged|stable|changing|changed|grown|enlarged|appeared) "
    r"(?:\w+ )?(?:for|over|since|within|during) (?:the )?(?:past |last |about |several |many |few |some |a |two |"
    r"three |\d+ )*(?:days?|weeks?|months?|years?|childhood|birth)\b"
    r"|\b(?:previously|formerly) (?:biopsied|excised|treated|diagnosed)\b|\bbiopsy[- ](?:proven|confirmed)\b"
    r"|\bhistopatholog(?:y|ically) (?:confirmed|confirms|proven|showed)\b"
)
# What is so of people at large is not said of this patient.
AT_LARGE = re.compile(
    r"\b(?:common(?:er|ly)?|frequent(?:ly)?|prevalen\w+|incidence|risk|predominan\w+|occurs?|seen) (?:\w+ ){0,4}?"
    r"(?:in|among|of)\b|\b(?:men|women|males|females|patients|people|individuals|adults|children)\b"
)
HIDDEN = {"age": said_ages, "sex": said_sexes}  # no image of a lesion shows these


def hallucinated(answer: str, row: dict[str, Any]) -> str | None:
    """Why an answer says more than image and metadata do, or None.

    A statement that contradicts the row is told as that, whichever metadata the model was given. Age and sex that
    agree with the row were read off the context, which was not to be quoted.

    Args:
        row: with metadata clean, as a result of ingest has it.
    """
    spoken = said_in(answer)
    own = [clause for clause in spoken if not AT_LARGE.search(clause.text)]
    judged = compare(answer, row)
    del judged["modality"]  # "the clinical picture" and "dermoscopy is advised" say nothing of this image
    for name, agrees in judged.items():
        if agrees is False and (name not in HIDDEN or HIDDEN[name](own)):
            return f"contradicts the metadata: {name.replace('_', ' ')}"
    if wrong := wrong_diagnosis(spoken, row):
        return f"contradicts the metadata: {wrong}"
    for name, said in HIDDEN.items():
        if said(own):
            return "quotes the internal context" if judged[name] else f"states what no image shows: {name}"
    if any(affirmed(spoken, HISTORY)):
        return "states what no image shows: history"
    return None


def wrong_diagnosis(spoken: Sequence[Clause], row: dict[str, Any]) -> str | None:
    """ "diagnosis" or "malignancy" where that is stated and is another one than the row's, else None."""
    plainly = [clause for clause in spoken if not COMPARES.search(clause.text)]
    said, truth = stated(plainly), true_diagnoses(row)
    if said and truth and not said & truth:
        return "diagnosis"
    malignant = row.get("malignant")
    if malignant is None:
        return None
    if _says(plainly, VERDICTS[not malignant] + SHARED) and not _says(plainly, VERDICTS[bool(malignant)] + SHARED):
        return "malignancy"
    return None


def stated(spoken: Iterable[Clause]) -> set[str]:
    """Diagnoses that clauses state, out of DIAGNOSES."""
    spoken = list(spoken)
    return {name for name, words in DIAGNOSES.items() if _says(spoken, words)}


def true_diagnoses(row: dict[str, Any]) -> set[str]:
    """What may be stated of a row: its entity, and what its source's own word names. Empty where nothing is known."""
    entity, word = row.get("entity"), row.get("diagnosis")
    text = plain(f"{word or ''} {ENTITY_NAMES.get(str(word).lower(), '')}")
    named = {name for name, words in DIAGNOSES.items() if re.search(rf"\b(?:{words})\b", text)}
    found = named | ({entity} if entity else set())
    return found | {near for name in found for near in NEAR.get(name, ())}


def _says(spoken: Iterable[Clause], words: str) -> bool:
    # of the whole statement only its last word counts: "is not a melanoma" is denied there
    pattern = re.compile(rf"(?:{STATES})(?P<what>(?:{words})\b)")
    for clause in spoken:
        for found in pattern.finditer(clause.text):
            if clause.status(found.start("what")) == "affirmed":
                return True
    return False
