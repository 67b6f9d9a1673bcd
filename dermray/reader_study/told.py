"""The analysis as text for a terminal, and as CSV tables."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dermray.reader_study.analysis import SUBSETS, WHOLE
from dermray.reader_study.answers import Reader
from dermray.reader_study.key import Key
from dermray.reader_study.questions import ORIGIN

RATES = ("precision", "recall", "f1-score")
AVERAGES = ("macro avg", "weighted avg")


def with_interval(value: dict[str, Any] | None) -> str:
    """0.64 (0.56 to 0.72)."""
    if value is None:
        return "n/a"
    if value["low"] is None:
        return f"{value['value']:.2f}"
    return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def p_value(p: float) -> str:
    """0.041; what is smaller than can be shown is no zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def text(study: str, analysis: dict[str, Any]) -> str:
    """What a user reads when the analysis is done."""
    width = max([len(name) for name in [*analysis["readers"], *analysis["classifiers"]]] + [15])
    lines = [f"{study}: share of right answers (95% interval)"]
    lines.append(f"{'':{width}}  {'question':12}" + "".join(f"{subset:>24}" for subset in SUBSETS))
    for name, question, subsets in _measured(analysis):
        shares = "".join(f"{with_interval(subsets[subset]['accuracy']):>24}" for subset in SUBSETS)
        lines.append(f"{name:{width}}  {question:12}{shares}")
    for question, subsets in (analysis["all_readers"] or {}).items():
        shares = "".join(f"{with_interval(subsets[subset]):>24}" for subset in SUBSETS)
        lines.append(f"{'mean of readers':{width}}  {question:12}{shares}")
    for name, reader in analysis["readers"].items():
        for question, subsets in reader["questions"].items():
            for subset in SUBSETS if question != ORIGIN else (WHOLE,):
                if subsets[subset]["report"]:
                    lines += ["", f"{name}, {question}, {subset}", *_report(subsets[subset])]
    for question, agreed in (analysis["agreement"] or {}).items():
        lines += ["", f"agreement, {question}: {_agreed(agreed[WHOLE])}"]
    return "\n".join([*lines, *_compared(analysis["comparisons"])])


def _compared(comparisons: Iterable[dict[str, Any]]) -> Iterator[str]:
    for one in comparisons:
        who = one["who"]
        yield (
            f"{who['reader']} - {who['classifier']}, {who['question']}, {one['subset']}: {one['difference']:+.2f} "
            f"({one['low']:+.2f} to {one['high']:+.2f}), McNemar's p {p_value(one['p'])}, corrected "
            f"{p_value(one['p_corrected'])}"
        )


def _measured(analysis: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, question and figures of every reader and classifier."""
    for name, reader in analysis["readers"].items():
        for question, subsets in reader["questions"].items():
            yield name, question, subsets
    for name, machine in analysis["classifiers"].items():
        yield name, machine["question"], machine["subsets"]


def _report(measured: dict[str, Any]) -> Iterator[str]:
    """A classification report with the AUC of each class beside it."""
    report, aucs = measured["report"], (measured["auc"] or {}).get("classes", {})
    yield f"{'':14}" + "".join(f"{name:>11}" for name in (*RATES, "support")) + f"{'AUC':>24}"
    for name, row in report.items():
        if name == "accuracy":
            yield f"{name:14}{'':22}{row:>11.2f}{measured['answered']:>11}"
        else:
            rates = "".join(f"{row[rate]:>11.2f}" for rate in RATES)
            auc = with_interval(aucs[name]) if name in aucs else ""
            yield f"{name:14}{rates}{int(row['support']):>11}{auc:>24}".rstrip()


def _agreed(agreed: dict[str, Any]) -> str:
    def shown(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.2f}"

    pairs = ", ".join(f"{' and '.join(pair['readers'])} kappa {shown(pair['kappa'])}" for pair in agreed["pairs"])
    fleiss, alpha = agreed["fleiss"], agreed["krippendorff"]
    return f"{pairs}; Fleiss {shown(fleiss['kappa'])}, Krippendorff {shown(alpha['alpha'])}"


def accuracies(analysis: dict[str, Any]) -> bytes:
    """A line for each reader or classifier, question and subset."""
    header = ["who", "question", "subset", "images", "answered", "right", "accuracy", "low", "high", "mean_auc"]
    rows = []
    for name, question, subsets in _measured(analysis):
        for subset, found in subsets.items():
            counts = [found["images"], found["answered"], found["right"]]
            share = found["accuracy"] or {}
            values = [share.get(bound) for bound in ("value", "low", "high")]
            rows.append([name, question, subset, *counts, *values, (found["auc"] or {}).get("mean")])
    return _csv(header, rows)


def reports(analysis: dict[str, Any]) -> bytes:
    """A line for each class (and average) of each classification report."""
    header = ["who", "question", "subset", "class", *RATES, "support", "auc", "auc_low", "auc_high"]
    rows = []
    for name, question, subsets in _measured(analysis):
        for subset, found in subsets.items():
            aucs = (found["auc"] or {}).get("classes", {})
            for label, row in (found["report"] or {}).items():
                if label != "accuracy":
                    auc = aucs.get(label) or {}
                    rates = [row[rate] for rate in (*RATES, "support")]
                    rows.append([name, question, subset, label, *rates, *map(auc.get, ("value", "low", "high"))])
    return _csv(header, rows)


def answers(key: Key, readers: Sequence[Reader]) -> bytes:
    """A line an image: what it is, and what each reader said of it."""
    header = ["image", "sample_id", f"true_{key.column}", f"true_{ORIGIN}"]
    header += [f"{reader.name}_{answer.question.column}" for reader in readers for answer in reader.answers]
    rows = []
    for number, image in enumerate(key.images):
        said = [
            answer.question.classes[answer.said[number]] if answer.known[number] else ""
            for reader in readers
            for answer in reader.answers
        ]
        rows.append([image.image, image.sample_id, image.truth, image.origin, *said])
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    lines = csv.writer(buffer)
    lines.writerow(header)
    lines.writerows(rows)
    return buffer.getvalue().encode()
