import pytest

from dermray.datasets.labels.words import ENTITY, MALIGNANT, entity_of, malignant_of, require_match
from dermray.records import ENTITIES


def test_unknown_never_becomes_negative() -> None:
    assert [malignant_of(c, ["mel", "bcc"], []) for c in ("MEL", " Bcc ", "NV", None)] == [True, True, None, None]
    assert [malignant_of(c, ["mel"], ["nv"]) for c in ("MEL", "NV", "SCC")] == [True, False, None]
    assert malignant_of("NV", ["mel"], [], others=False) is False
    assert malignant_of(None, ["mel"], ["nv"], others=False) is None


def test_entities_by_their_usual_names() -> None:
    assert [entity_of(w) for w in ("MEL", "Melanoma", "basal-cell-carcinoma", "Nevus", "ACK")] == [
        "mel", "mel", "bcc", "nv", "akiec"
    ]  # fmt: skip
    assert entity_of("psoriasis") is None and entity_of(None) is None
    assert set(ENTITY.values()) == {*ENTITIES, "other"} == set(MALIGNANT)


def test_reviewed_rules_of_malignancy() -> None:
    assert {e for e, m in MALIGNANT.items() if m} == {"mel", "bcc"}
    assert {e for e, m in MALIGNANT.items() if m is None} == {"akiec", "other"}


def test_entries_that_match_nothing_are_named_with_the_nearest_words() -> None:
    require_match(["MEL ", "bcc"], ["mel", "BCC", "nv"], "malignant_classes")
    with pytest.raises(ValueError, match=r"malignant_classes: \['melanom'\] match nothing.*nearest: \['Melanoma'\]"):
        require_match(["melanom", "nv"], ["Melanoma", "NV"], "malignant_classes")
    with pytest.raises(ValueError, match="there are: \\['a', 'b'\\]"):
        require_match(["zzz"], ["a", "b"], "drop_classes")
