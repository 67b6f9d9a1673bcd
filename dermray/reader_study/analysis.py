"""All numbers of a reader study: every reader and classifier, both questions, the whole set and both its halves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermray.reader_study.against import compare, compare_auc, corrected
from dermray.reader_study.agreement import agreement
from dermray.reader_study.answers import Answer, Reader
from dermray.reader_study.key import Key
from dermray.reader_study.machines import Machine
from dermray.reader_study.measures import mean_accuracy, measure
from dermray.reader_study.questions import AI, ORIGINAL, Question
from dermray.reader_study.settings import AnalyseConfig

WHOLE = "whole set"
SUBSETS = (WHOLE, AI, ORIGINAL)


@dataclass(frozen=True)
class Truth:
    """What the key says, in the order of the images."""

    asked: tuple[Question, Question]
    numbers: tuple[np.ndarray, np.ndarray]  # (N,) int64 of each question's classes

    @classmethod
    def of(cls, key: Key, asked: tuple[Question, Question]) -> "Truth":
        """From the opened key."""
        first, second = asked
        return cls(
            asked,
            (
                np.array([first.classes.index(image.truth) for image in key.images]),
                np.array([second.classes.index(image.origin) for image in key.images]),
            ),
        )

    def of_question(self, question: Question) -> np.ndarray:
        """(N,) its numbers."""
        return self.numbers[self.asked.index(question)]

    def subset(self, name: str) -> np.ndarray:
        """(N,) bool: which images are in it."""
        origin, number = self.asked[1], self.numbers[1]
        return np.ones(len(number), bool) if name == WHOLE else number == origin.classes.index(name)


def analyse(
    truth: Truth, readers: Sequence[Reader], machines: Sequence[Machine], config: AnalyseConfig
) -> dict[str, Any]:
    """readers, all_readers, agreement, classifiers, comparisons: see docs/reader-study.md for each."""
    return {
        "readers": {
            reader.name: {
                "confidence": {answer.question.column: answer.confident for answer in reader.answers},
                "questions": {
                    answer.question.column: _by_subset(truth, answer.question, answer.said, answer.scores(), config)
                    for answer in reader.answers
                },
                "by_class": by_class(truth, reader.answers[1]),
            }
            for reader in readers
        },
        "all_readers": _all_readers(truth, readers, config) if len(readers) > 1 else None,
        "agreement": _agreement(truth, readers) if len(readers) > 1 else None,
        "classifiers": {
            machine.name: {
                "question": machine.question.column,
                "seen": machine.seen,
                "subsets": _by_subset(truth, machine.question, machine.said, machine.scores, config),
            }
            for machine in machines
        },
        "comparisons": _comparisons(truth, readers, machines, config),
    }


def _by_subset(
    truth: Truth, question: Question, said: np.ndarray, scores: np.ndarray, config: AnalyseConfig
) -> dict[str, Any]:
    true, found = truth.of_question(question), {}
    for name in SUBSETS:
        inside = truth.subset(name)
        found[name] = measure(
            true[inside], said[inside], scores[inside], question.classes, config.resamples, config.seed
        )
    return found


def by_class(truth: Truth, answer: Answer) -> list[dict[str, Any]]:
    """Of each class how many answered AI images were taken for originals, and originals for AI's."""
    first, second = truth.asked
    rows = []
    for number, name in enumerate(first.classes):
        row: dict[str, Any] = {"class": name}
        for origin in (AI, ORIGINAL):
            inside = (truth.numbers[0] == number) & truth.subset(origin) & answer.known
            row[origin] = {
                "answered": int(inside.sum()),
                "taken_for_the_other": int((answer.said[inside] != second.classes.index(origin)).sum()),
            }
        rows.append(row)
    return rows


def _all_readers(truth: Truth, readers: Sequence[Reader], config: AnalyseConfig) -> dict[str, Any]:
    """The mean reader's share of right answers."""
    found: dict[str, Any] = {}
    for number, (question, true) in enumerate(zip(truth.asked, truth.numbers, strict=True)):
        said = np.array([reader.answers[number].said for reader in readers])
        found[question.column] = {
            name: mean_accuracy(
                (said == true)[:, truth.subset(name)], (said >= 0)[:, truth.subset(name)], config.resamples, config.seed
            )
            for name in SUBSETS
        }
    return found


def _agreement(truth: Truth, readers: Sequence[Reader]) -> dict[str, Any]:
    names = [reader.name for reader in readers]
    found: dict[str, Any] = {}
    for number, question in enumerate(truth.asked):
        said = np.array([reader.answers[number].said for reader in readers])
        found[question.column] = {
            name: agreement(names, said[:, truth.subset(name)], len(question.classes)) for name in SUBSETS
        }
    return found


def _comparisons(
    truth: Truth, readers: Sequence[Reader], machines: Sequence[Machine], config: AnalyseConfig
) -> list[dict[str, Any]]:
    """Of every reader with every classifier; p values are corrected for their number."""
    found = []
    for machine in machines:
        number = truth.asked.index(machine.question)
        true = truth.numbers[number]
        for reader in readers:
            answer = reader.answers[number]
            for name in SUBSETS:
                inside = truth.subset(name)
                one = compare(
                    true[inside], answer.said[inside], machine.said[inside], config.resamples, config.seed
                )  # fmt: skip
                if one is None:
                    continue
                who = {"reader": reader.name, "classifier": machine.name, "question": machine.question.column}
                found.append({"who": who, "subset": name} | one | {"auc": _auc(truth, answer, machine, name, config)})
    corrected(found)
    return found


def _auc(truth: Truth, answer: Answer, machine: Machine, name: str, config: AnalyseConfig) -> dict[str, float] | None:
    if not answer.confident:
        return None
    inside = truth.subset(name) & answer.known
    true = truth.of_question(answer.question)[inside]
    return compare_auc(true, answer.scores()[inside], machine.scores[inside], config.resamples, config.seed)
