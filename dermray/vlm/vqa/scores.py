"""Numbers out of scored answers, each with an interval and its N; two captioners on the same answers, paired.

Intervals resample leak groups: the questions of one image, and the images of one patient, are not independent. All
statistics see the same resamples. Held in memory: some hundred bytes an answer, whose number config bounds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from dermray.age_bands import age_band
from dermray.records import read_columns
from dermray.statistics import holm, replicates
from dermray.vlm.vqa import texts
from dermray.vlm.vqa.finish import named_attributes
from dermray.vlm.vqa.questions import QUESTIONS

GROUPS = ("skin_tone", "sex", "age_band")
ATTRIBUTES = ("asymmetry", "border", "colours", "skin_tone")
READ = ["answer_id", "sample_id", "question_id", "truth", "leak_group", "skin_tone", "sex", "age", "said", "correct",
        "exact", "f1", "rouge1", "rouge2", "rougeL", "bleu_counts", *(f"{name}_right" for name in ATTRIBUTES),
        "hallucinated", "names_a_diagnosis", "status"]  # fmt: skip
LOWER_IS_BETTER = ("states what no image shows", "names a diagnosis unasked", "closed: none of the answers")


@dataclass
class Answered:
    """What one captioner's answers were worth, in the order of their ids.

    values: measure -> (N,) float, nan where it says nothing of an answer. counts: (N, 10) of BLEU, nan likewise.
    """

    table: pa.Table  # READ, without the lists
    values: dict[str, np.ndarray]
    counts: np.ndarray | None
    more: dict[str, np.ndarray] = field(default_factory=dict)


def load(rows: str) -> Answered:
    """The scores in one captioner's answers."""
    table = read_columns(rows, READ).sort_by("answer_id")
    values = {"closed questions": _floats(table["correct"])}
    asked = np.array(table["question_id"].to_pylist(), object)
    for name in QUESTIONS:
        if (asked == name).any():
            values[f"closed: {name}"] = np.where(asked == name, values["closed questions"], np.nan)
    unread = np.array(table["said"].is_null(), bool)
    values[LOWER_IS_BETTER[2]] = np.where(np.isfinite(values["closed questions"]), unread, np.nan)
    values |= {"exact match": _floats(table["exact"]), "token F1": _floats(table["f1"])}
    right = np.stack([_floats(table[f"{name}_right"]) for name in ATTRIBUTES])
    values["described attributes"] = _mean_of_known(right)
    values |= {f"described: {name}": right[i] for i, name in enumerate(ATTRIBUTES)}
    values |= {f"ROUGE-{name[5:]}": _floats(table[name]) for name in texts.ROUGE}
    stated = table["hallucinated"].to_pylist()
    values[LOWER_IS_BETTER[0]] = np.array([np.nan if names is None else bool(names) for names in stated], float)
    for attribute in named_attributes():
        values[f"states: {attribute}"] = np.array(
            [np.nan if names is None else attribute in names for names in stated], float
        )
    values[LOWER_IS_BETTER[1]] = _floats(table["names_a_diagnosis"])
    small = table.drop_columns(["hallucinated", "bleu_counts"])
    return Answered(small, {n: v for n, v in values.items() if np.isfinite(v).any()}, _counts(table["bleu_counts"]))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) numbers, or 1 and 0 of booleans; nan for null."""
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.array(numbers.cast(pa.float64()), float)


def _counts(column: pa.ChunkedArray) -> np.ndarray | None:
    width = 2 * texts.ORDERS + 2
    rows = [[np.nan] * width if counts is None else counts for counts in column.to_pylist()]
    counts = np.array(rows, float).reshape(-1, width)
    return counts if np.isfinite(counts).any() else None


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """(N,) means over the first axis of what is no nan."""
    known = np.isfinite(values).sum(0)
    return np.where(known > 0, np.nansum(values, axis=0) / np.maximum(known, 1), np.nan)


@dataclass(frozen=True)
class Statistic:
    """A number of a sample: its value where every answer counts once, and in weighted resamples of leak groups."""

    n: int  # answers
    of: Callable[[np.ndarray], np.ndarray]  # of (R, G) weights of groups its (R,) values


class Groups:
    """The leak groups that answers lie in, and what is summed over them."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.member = np.unique(np.array(names), return_inverse=True)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(G,) or (G, K) sums of (N,) or (N, K) values."""
        found = np.zeros((len(self.names), *values.shape[1:]))
        np.add.at(found, self.member, values)
        return found

    def mean(self, values: np.ndarray) -> Statistic:
        """Of what is no nan."""
        known = np.isfinite(values)
        totals, numbers = self.sums(np.where(known, values, 0.0)), self.sums(known.astype(float))

        def of(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.asarray((weights @ totals) / (weights @ numbers))

        return Statistic(int(known.sum()), of)

    def bleu(self, counts: np.ndarray) -> Statistic:
        """Corpus BLEU of the answers whose counts are no nan."""
        known = np.isfinite(counts).all(1)
        totals = self.sums(np.where(known[:, None], counts, 0.0))
        return Statistic(int(known.sum()), lambda weights: texts.bleu(weights @ totals))

    def bleu_difference(self, first: np.ndarray, second: np.ndarray) -> Statistic:
        """BLEU of the second less that of the first, over answers that both have."""
        both = np.isfinite(first).all(1) & np.isfinite(second).all(1)
        one, other = (self.bleu(np.where(both[:, None], counts, np.nan)) for counts in (first, second))
        return Statistic(int(both.sum()), lambda weights: other.of(weights) - one.of(weights))


Key = tuple[str, ...]


def measured(statistics: dict[Key, Statistic], groups: Groups, resamples: int, seed: int) -> dict[Key, dict[str, Any]]:
    """Each with its value, N, 95% interval and, for differences, p; interval and p are None of a single leak group."""
    number = len(groups.names)
    keys, once, drawn = list(statistics), np.ones((1, number)), None
    if number > 1 and keys:

        def of_all(weights: np.ndarray) -> np.ndarray:
            return np.stack([statistics[key].of(weights) for key in keys])

        drawn = replicates(of_all, groups.names.tolist(), resamples, seed)
    found = {}
    for i, key in enumerate(keys):
        sample = drawn[i][np.isfinite(drawn[i])] if drawn is not None else np.zeros(0)
        low, high = (float(q) for q in np.quantile(sample, [0.025, 0.975])) if len(sample) else (None, None)
        value = float(statistics[key].of(once)[0])
        found[key] = {"n": statistics[key].n, "value": value, "low": low, "high": high, "p": _p(sample)}
    return found


def _p(sample: np.ndarray) -> float | None:
    """Two-sided, of no difference: by the share of resamples on the other side of zero, and never 0."""
    if not len(sample):
        return None
    below, above = ((1 + np.count_nonzero(side)) / (1 + len(sample)) for side in (sample <= 0, sample >= 0))
    return float(min(1.0, 2 * min(below, above)))


def evaluate(answers: dict[str, Answered], resamples: int, seed: int) -> dict[str, Any]:
    """All tables of the stage, for captioners by name whose answers are to the same questions.

    Returns:
        measures: captioner -> measure -> n, value, low, high, and for closed questions the floor: the share that the
        most frequent answer gets. groups: captioner -> attribute -> group -> accuracy on closed questions.
        differences: a list, second less first, with p and Holm's p over all of them; leak_groups.
    """
    groups = Groups(leak_groups(next(iter(answers.values())).table))
    found = measured(_statistics(answers, groups), groups, resamples, seed)
    return {
        "leak_groups": len(groups.names),
        "measures": {name: _measures(name, answered, found) for name, answered in answers.items()},
        "groups": {name: _by_attribute(name, found) for name in answers},
        "differences": _corrected(
            [
                {"first": key[1], "second": key[2], "measure": key[3]} | cell
                for key, cell in found.items()
                if key[0] == "pair"
            ]
        ),
    }


def leak_groups(table: pa.Table) -> list[str]:
    """Of each answer; an image without one is a group of its own."""
    names = zip(table["leak_group"].to_pylist(), table["sample_id"].to_pylist(), strict=True)
    return [group or sample for group, sample in names]


def _statistics(answers: dict[str, Answered], groups: Groups) -> dict[Key, Statistic]:
    """By ("measure", captioner, measure), ("group", captioner, attribute, group), ("pair", first, second, measure)."""
    statistics: dict[Key, Statistic] = {}
    for name, answered in answers.items():
        statistics |= {("measure", name, m): groups.mean(v) for m, v in (answered.values | answered.more).items()}
        if answered.counts is not None:
            statistics["measure", name, "BLEU"] = groups.bleu(answered.counts)
        statistics |= {("group", name, *key): groups.mean(v) for key, v in by_group(answered).items()}
    for one, other in combinations(answers, 2):
        statistics |= {("pair", one, other, m): s for m, s in _pair(answers[one], answers[other], groups).items()}
    return statistics


def _measures(name: str, answered: Answered, found: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    floors = majority_floors(answered)
    mine = {key[2]: cell for key, cell in found.items() if key[:2] == ("measure", name)}
    return {measure: _plain(cell) | floors.get(measure, {}) for measure, cell in mine.items()}


def _by_attribute(name: str, found: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    mine = {key[2:]: _plain(cell) for key, cell in found.items() if key[:2] == ("group", name)}
    return {attribute: {key[1]: cell for key, cell in mine.items() if key[0] == attribute} for attribute in GROUPS}


def _pair(first: Answered, second: Answered, groups: Groups) -> dict[str, Statistic]:
    """Second less first, over answers that both have."""
    one, other = first.values | first.more, second.values | second.more
    found = {name: groups.mean(other[name] - one[name]) for name in one if name in other}
    if first.counts is not None and second.counts is not None:
        found["BLEU"] = groups.bleu_difference(first.counts, second.counts)
    return {name: statistic for name, statistic in found.items() if statistic.n}


def _plain(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name != "p"}


def _corrected(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tested = [d for d in differences if d["p"] is not None]
    for difference, p in zip(tested, holm([d["p"] for d in tested]), strict=True):
        difference["p_holm"] = p
    return differences


def by_group(answered: Answered) -> dict[tuple[str, str], np.ndarray]:
    """(attribute, group) -> what is right on closed questions there, nan elsewhere."""
    table, right = answered.table, answered.values.get("closed questions")
    if right is None:
        return {}
    ages = [None if age is None or age != age else age_band(age) for age in table["age"].to_pylist()]
    columns = {"skin_tone": table["skin_tone"].to_pylist(), "sex": table["sex"].to_pylist(), "age_band": ages}
    return {
        (attribute, group): np.where(np.array(column, object) == group, right, np.nan)
        for attribute, column in columns.items()
        for group in sorted({name for name in column if name is not None})
    }


def majority_floors(answered: Answered) -> dict[str, dict[str, Any]]:
    """For each closed question, and all together, what answering always the same is worth on the same answers."""
    truths = np.array(answered.table["truth"].to_pylist(), object)
    found, rights, known = dict[str, dict[str, Any]](), 0, 0
    for measure, values in answered.values.items():
        if measure.removeprefix("closed: ") in QUESTIONS:
            names, numbers = np.unique(truths[np.isfinite(values)].astype(str), return_counts=True)
            most = int(numbers.argmax())
            rights, known = rights + int(numbers[most]), known + int(numbers.sum())
            found[measure] = {"floor": float(numbers[most] / numbers.sum()), "floor_answer": str(names[most])}
    return found | ({"closed questions": {"floor": rights / known}} if known else {})
