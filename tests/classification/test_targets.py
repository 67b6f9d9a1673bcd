import numpy as np
import pytest

from dermray.classification.targets import UNKNOWN, Target, counts


def test_malignant_is_binary_with_benign_first() -> None:
    target = Target.of("malignant", [True, None])
    labels = target.numbers([False, True, None])
    assert target.classes == ("benign", "malignant") and target.outputs == 1
    assert labels.dtype == np.int64 and labels.tolist() == [0, 1, UNKNOWN]
    assert counts(labels, target) == {"benign": 1, "malignant": 1, "unknown": 1}


def test_another_column_has_the_sorted_classes_of_the_train_split() -> None:
    target = Target.of("entity", ["nv", None, "mel", "nv", "bcc"])
    assert target.classes == ("bcc", "mel", "nv") and target.outputs == 3
    assert target.numbers(["nv", "df", None, "bcc"]).tolist() == [2, UNKNOWN, UNKNOWN, 0]
    assert Target.of("entity", ["nv"], ["nv", "mel"]).classes == ("nv", "mel"), "as given"
    assert Target.of("true_asymmetry", [True, False]).numbers([True, False]).tolist() == [1, 0]
    assert Target.of("fitzpatrick", [3, 1]).numbers([1, 3]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("entities", ["a", "b"], "column=entities: no label column; expected one of .*entity, malignant"),
        ("image", [], "no label column"),
        ("entity", ["nv", None, "nv"], "at least two classes, each once, got nv; take another"),
        ("sex", [None], "got none: all are unknown"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(column: str, values: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target.of(column, values)
