import json
import math
import re
from collections import Counter
from itertools import chain
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.datasets.sources import SOURCES
from dermray.vlm.instruct import phrasings
from dermray.vlm.instruct.context import clean, context
from dermray.vlm.instruct.hallucinations import HISTORY
from dermray.vlm.instruct.prompt import prompt_of, schema
from dermray.vlm.instruct.questions import questions, specific

FAMILIES = {
    "general": phrasings.GENERAL,
    "either": phrasings.EITHER,
    **phrasings.BY_MODALITY,
    **phrasings.BY_SOURCE,
}
IDS = [f"{i:064x}" for i in range(4000)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_at_least_20_phrasings(family: str) -> None:
    assert len(FAMILIES[family]) >= 20
    assert all(re.fullmatch(r"[A-Z].{15,}[.?]", text) for text in FAMILIES[family])


def test_no_phrasing_stands_twice_or_asks_for_what_no_image_shows() -> None:
    every = list(chain(*FAMILIES.values()))
    plain = Counter(" ".join(re.findall(r"[a-z]+", text.lower())) for text in every)
    assert max(plain.values()) == 1
    hidden = re.compile(r"\b(?:age|how old|sex|gender|male|female|history|symptoms?|itch\w*|pain\w*|since when)\b")
    assert [text for text in every if hidden.search(text.lower()) or HISTORY.search(text.lower())] == []
    assert phrasings.BY_SOURCE.keys() <= SOURCES.keys(), "names that rows have"


def test_an_image_is_always_asked_the_same_and_images_differ() -> None:
    row = {"sample_id": IDS[7], "modality": "clinical", "source": "scin"}
    assert questions(row) == questions(dict(row) | {"age": 3.0, "status": "ok"})
    asked = [questions({"sample_id": i, "modality": "dermoscopic"}) for i in IDS]
    assert [q.kind for q in asked[0]] == ["general", "specific"]
    for place, family in ((0, phrasings.GENERAL), (1, phrasings.DERMOSCOPIC)):
        counts = Counter(pair[place].text for pair in asked)
        assert set(counts) == set(family)
        # of a fair draw each is within five deviations of its mean
        mean = len(IDS) / len(family)
        assert max(abs(n - mean) for n in counts.values()) < 5 * math.sqrt(mean)
    together = {(a.text, b.text) for a, b in asked}
    assert len(together) == len(phrasings.GENERAL) * len(phrasings.DERMOSCOPIC), "drawn independently"


def test_what_is_asked_fits_modality_and_source() -> None:
    assert specific({"modality": "clinical"}) == phrasings.CLINICAL
    assert set(specific({"modality": "clinical", "source": "pad_ufes_20"})) == {
        *phrasings.CLINICAL, *phrasings.BY_SOURCE["pad_ufes_20"],
    }  # fmt: skip
    assert specific({"modality": None, "source": "bcn20000"}) == phrasings.EITHER, "unknown is not dermoscopic"


CASES: list[tuple[Any, str | None]] = [
    ("melanoma", "melanoma"),
    (("melanoma", "in situ"), "melanoma, in situ"),
    (["left", "arm"], "left, arm"),
    ("('nevus', 'dysplastic')", "nevus, dysplastic"),
    ("['nevus']", "nevus"),
    ("('nevus',)", "nevus"),
    ("(left arm)", "left arm"),
    (np.array(["a", "b"]), "a, b"),
    (np.array([]), None),
    ({"b", "a"}, "a, b"),
    ({"type": "nevus", "grade": None}, "type nevus"),
    (np.str_("nevus"), "nevus"),
    (b"nevus", "nevus"),
    (45.0, "45"),
    (np.float32(45), "45"),
    (np.int64(45), "45"),
    (float("nan"), None),
    (np.nan, None),
    (float("inf"), None),
    (pd.NA, None),
    (pd.NaT, None),
    (None, None),
    ((None, float("nan")), None),
    ([], None),
    ("  upper\n  back ", "upper back"),
    ("NaN", None),
    ("unknown", None),
    ("", None),
    (True, "True"),
]


def named(value: Any) -> str:
    """The same in every test process: a set is written in an order of its own in each."""
    return repr(sorted(value, key=str) if isinstance(value, set | frozenset) else value)[:30]


@pytest.mark.parametrize(("value", "said"), CASES, ids=named)
def test_metadata_of_any_type_is_clean_text(value: Any, said: str | None) -> None:
    assert clean(value) == said


@pytest.mark.parametrize("value", [value for value, _ in CASES], ids=named)
@pytest.mark.parametrize("column", ["diagnosis", "malignant", "age", "sex", "site", "skin_tone", "modality"])
def test_the_prompt_has_no_trace_of_python(column: str, value: Any) -> None:
    given = prompt_of({"sample_id": IDS[0], column: value}, ["diagnosis", column])
    lines = [line for line in given.splitlines() if line.startswith("- ")]
    assert not re.search(r"[\[\](){}'<>]|\bnan\b|\bNone\b|\bNaT\b", "\n".join(lines))
    assert ("Internal context" in given) == bool(lines)


simple = st.none() | st.text(max_size=12) | st.floats() | st.integers() | st.booleans() | st.binary(max_size=6)
nested = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(nested)
def test_whatever_a_column_holds_there_is_a_prompt(value: Any) -> None:
    for column in ("diagnosis", "age", "malignant"):
        said = context({column: value})
        assert all(isinstance(text, str) and text and "\n" not in text for text in said.values())
    text = clean(value)
    assert text is None or text == " ".join(text.split()) != ""


def test_the_context_is_what_is_asked_for_and_known() -> None:
    row = {"malignant": True, "diagnosis": "mel", "sex": "male", "age": 61.0, "site": "back", "modality": "clinical"}
    assert context(row) == {
        "label": "malignant", "diagnosis": "melanoma", "sex": "male", "age": "61", "anatomical site": "back",
        "image type": "clinical",
    }  # fmt: skip
    assert context(row, ["modality"]) == {"image type": "clinical"}
    assert context(row, []) == {}
    text = prompt_of(row | {"sample_id": IDS[0]}, ["age"])
    assert "- age: 61" in text and "melanoma" not in text and "Never quote it" in text


def test_the_schema_takes_an_answer_of_its_form_and_no_other() -> None:
    form = schema(most_characters=30)
    jsonschema.Draft202012Validator.check_schema(form)
    jsonschema.validate(json.loads('{"general": "Brown.", "specific": "A network."}'), form)
    for wrong in ({"general": "Brown."}, {"general": "Brown.", "specific": "x" * 31}, {"general": 1, "specific": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, form)
    form = schema(most_characters=30, one_sentence=True)
    jsonschema.validate({"general": "Brown, flat (" + "x" * 15 + ").", "specific": "A."}, form)
    for answer in ("Brown", "Brown. Flat.", "x" * 30 + ".", ".", 'A "net".'):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"general": answer, "specific": "A."}, form)
