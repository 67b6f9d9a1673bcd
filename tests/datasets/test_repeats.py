from typing import Any

from dermray.datasets.repeats import contradictions, reject_repeats


def row(**values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(["diagnosis", "entity", "malignant", "patient_id", "lesion_id", "split"])
    return {"status": "ok", "reason": None, "sample_id": "x", "source": "s", **nothing, **values}


def test_copies_that_contradict_each_other_are_rejected_with_the_columns() -> None:
    rows = [row(diagnosis="nv", malignant=False, entity="nv"), row(diagnosis="mel", malignant=True, entity="mel")]
    reject_repeats(rows)
    assert {r["reason"] for r in rows} == {"same image under conflicting labels: diagnosis, entity, malignant"}


def test_each_column_that_matters_is_compared() -> None:
    for name, values in {"diagnosis": ("nv", "mel"), "entity": ("nv", "mel"), "malignant": (False, True),
                         "patient_id": ("s/1", "s/2")}.items():  # fmt: skip
        assert contradictions([row(**{name: value}) for value in values]) == [name]


def test_null_is_no_contradiction_and_the_copy_that_knows_most_stays() -> None:
    rows = [row(diagnosis="nv"), row(diagnosis="NV ", malignant=False, patient_id="s/1"), row()]
    reject_repeats(rows)
    assert [r["status"] for r in rows] == ["rejected", "ok", "rejected"]
    assert rows[0]["reason"] == "exact duplicate of another file"


def test_a_copy_in_an_official_test_split_stays() -> None:
    rows = [row(malignant=False, patient_id="s/1"), row(split="train", malignant=False), row(split="test")]
    reject_repeats(rows)
    assert [r["status"] for r in rows] == ["rejected", "rejected", "ok"]


def test_words_and_patients_of_different_sources_do_not_contradict_each_other() -> None:
    one = row(source="ham10000", diagnosis="nv", entity="nv", patient_id="ham10000/1")
    other = row(source="isic_archive", diagnosis="nevus", entity="nv", patient_id="isic_archive/9")
    assert contradictions([one, other]) == []
    assert contradictions([one, other | {"entity": "mel"}]) == ["entity"]
