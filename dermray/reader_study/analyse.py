"""`dermray reader-study analyse`: a study and its readers' answers in; numbers, pictures and a page out."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermray import manifest, pages, storage
from dermray.manifest import Result, Rows
from dermray.reader_study import key, machines, plots, told
from dermray.reader_study.agreement import require_statsmodels
from dermray.reader_study.analysis import SUBSETS, WHOLE, Truth, analyse
from dermray.reader_study.answers import Reader, read, require_all
from dermray.reader_study.machines import Machine
from dermray.reader_study.questions import ORIGIN, questions
from dermray.reader_study.settings import AnalyseConfig

STAGE = "reader-study analyse"
TEMPLATE, PAGE, PICTURES = Path(__file__).parent / "reader_study.html", "reader_study.html", "pictures"


def run(config: AnalyseConfig) -> Result:
    """Check, count, draw.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a key that was changed, answers that do not fit the study: see
            `answers.read`. ImportError: a workbook without openpyxl, several readers without statsmodels.
    """
    built = manifest.read(config.study, key.BUILD)
    opened, study = key.opened(built)
    found = machines.results(config.classifiers)
    if len(config.answers) > 1:
        require_statsmodels()
    asked = questions(opened.column, opened.classes)
    names = [image.image for image in opened.images]
    readers = read(config.answers, study, names, asked)
    if config.unanswered == "refuse":
        require_all(readers, names)
    inputs = {"study": built} | {f"classifier_{number}": result for number, result in enumerate(found.values())}
    # files are inputs too: other answers, other figures
    identity = {f"answers_{reader.name}": _digest(uri) for reader, uri in zip(readers, config.answers, strict=True)}
    with manifest.work(STAGE, config.output, config, inputs, **identity) as work:
        if work.finished:
            return work.finished
        truth = Truth.of(opened, asked)
        scored = machines.read(found, built, opened, asked)
        analysis = analyse(truth, readers, scored, config)
        files = _files(study, analysis, truth, readers, scored)
        files["answers.csv"] = told.answers(opened, readers)
        for name, content in files.items():
            storage.write_bytes(storage.join(work.data, name), content)
        total = len(readers) * len(names)
        return work.commit(
            _rows(readers), total, **analysis, summary=told.text(study, analysis), page=PAGE, images=len(names)
        )


def _digest(uri: str) -> str:
    return hashlib.sha256(storage.read_bytes(storage.normalise(uri))).hexdigest()


def _rows(readers: Sequence[Reader]) -> Rows:
    """A row an image and reader; rejected where a question is not answered."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for reader in readers:
        for known in zip(*(answer.known.tolist() for answer in reader.answers), strict=True):
            open_ = [a.question.column for a, there in zip(reader.answers, known, strict=True) if not there]
            counts["rejected" if open_ else "ok", f"no answer: {' and '.join(open_)}" if open_ else None] += 1
    return Rows.count(counts)


def _files(
    study: str, analysis: dict[str, Any], truth: Truth, readers: Sequence[Reader], scored: Sequence[Machine]
) -> dict[str, bytes]:
    """Numbers, pictures and the page that holds these, by name."""
    pictures = _pictures(analysis, truth, readers, scored)
    page = pages.render(
        TEMPLATE,
        study=study,
        analysis=analysis,
        images=len(truth.numbers[0]),
        subsets=SUBSETS,
        whole=WHOLE,
        origin=ORIGIN,
        pictures={name: pages.data_url(picture) for name, picture in pictures.items()},
        told=told,
    )
    return {
        "analysis.json": json.dumps(analysis, indent=1).encode(),
        "accuracies.csv": told.accuracies(analysis),
        "reports.csv": told.reports(analysis),
        PAGE: page.encode(),
        **{f"{PICTURES}/{name}.png": picture for name, picture in pictures.items()},
    }


def _pictures(
    analysis: dict[str, Any], truth: Truth, readers: Sequence[Reader], scored: Sequence[Machine]
) -> dict[str, bytes]:
    """By names such as confusion-jane-entity-AI, roc-jane-origin, against-classify."""
    drawn: dict[str, bytes] = {}
    for reader in readers:
        for answer in reader.answers:
            question, true = answer.question, truth.of_question(answer.question)
            measured = analysis["readers"][reader.name]["questions"][question.column]
            for subset in SUBSETS if question.column != ORIGIN else (WHOLE,):
                if counts := measured[subset]["confusion"]:
                    name = _name("confusion", reader.name, question.column, subset)
                    drawn[name] = plots.confusion(counts, question.classes, f"{reader.name}, {subset}")
            if answer.known.any():
                title = f"{reader.name}, {question.column}"
                drawn[_name("roc", reader.name, question.column)] = plots.roc(true, answer, title)
    for machine in scored:
        number = truth.asked.index(machine.question)
        answers = [(reader.name, reader.answers[number]) for reader in readers]
        drawn[_name("against", machine.name)] = plots.against(truth.numbers[number], machine, answers)
    return drawn


def _name(*parts: str) -> str:
    return "-".join(part.replace(" ", "-").replace("/", "-") for part in parts)
