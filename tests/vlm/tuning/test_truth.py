"""Tuning on truth takes a shortcut away: many minutes on two CPU cores, so `make soak` runs it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import tuning_on_truth as bench
from dermray.captioning.accuracy import SAID


def test_a_difference_is_paired_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one attribute ten images more are right and none less, of the others nothing changes."""
    ids, patients = [str(n) for n in range(100)], [str(n // 2) for n in range(100)]
    then = {key: np.repeat([1.0, 0.0], 50) for key in SAID}
    now = then | {"border": np.repeat([1.0, 0.0], [60, 40])}
    answers = iter([(ids, patients, then), (ids, patients, now)])
    monkeypatch.setattr(bench, "right", lambda captions: next(answers))
    told = bench.rises(None, None)  # type: ignore[arg-type]  # `right` is not what this is about
    before, after, gain, low, high = told["border"]
    assert (before, after, gain) == pytest.approx((0.5, 0.6, 0.1)) and 0 < low < 0.1 < high < 0.25
    assert told["asymmetry"] == (0.5, 0.5, 0.0, 0.0, 0.0)
    assert "| border | 0.500 | 0.600 | +0.100 |" in bench.table(told)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_what_was_read_off_another_attribute_is_learned(local_ray: None, tmp_path: Path) -> None:
    base = bench.start(f"{tmp_path}/captioner")
    rows, held_out = (bench.phantoms(f"{tmp_path}/{n}", count, n) for n, count in ((11, 2500), (12, 400)))
    before = bench.asked(f"{tmp_path}/before", held_out.uri, base.uri)
    tuned = bench.tuned(f"{tmp_path}/tuned", rows.uri, base.uri, "lora_all", 150)
    assert tuned.manifest.metrics["merged"], "the vision tower's adapters are none that vLLM serves"
    told = bench.rises(before, bench.asked(f"{tmp_path}/after", held_out.uri, tuned.uri))
    for attribute in ("asymmetry", "border"):
        before_it, _, _, low, _ = told[attribute]
        assert before_it < 0.9 and low > 0.03, told
    assert all(high > -0.03 for _, _, _, _, high in told.values()), "nothing else is forgotten"
