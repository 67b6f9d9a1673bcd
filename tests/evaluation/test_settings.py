from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.evaluation.settings import EvaluationConfig

BASE = {"output": "o", "rows": "r", "synthetic": "s"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pairing": ["closest"]}, "pairing"),
        ({"pairing": ["random", "random"]}, "pairing: the same twice"),
        ({"groups": ["entity", "entity"]}, "groups: the same twice"),
        ({"groups": ["hospital"]}, "groups"),
        ({"extractors": []}, "extractors"),
        ({"extractors": [{"kind": "judge"}, {"kind": "judge"}]}, "extractors: the same twice"),
        ({"extractors": [{"kind": "inception"}]}, "kind inception needs its weights"),
        ({"synthetic": {}}, "synthetic: expected at least one"),
        ({"min_images": 3}, "min_images"),
        ({"real": "test"}, "real"),
    ],
)
def test_what_cannot_be_meant_is_said(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        validate(EvaluationConfig, BASE | change)


def test_one_source_or_several_by_name() -> None:
    assert validate(EvaluationConfig, BASE).synthetic == "s"
    several = {"LDM": "a", "DiT": "b"}
    assert validate(EvaluationConfig, BASE | {"synthetic": several}).synthetic == several
