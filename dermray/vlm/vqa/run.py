"""`dermray vqa`: questions about held-out images, asked of one or several captioners, their answers scored."""

import json
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dermray import manifest, storage, weights
from dermray.captioning import choose, models, summary
from dermray.captioning.engine import Answer, Ask
from dermray.captioning.models import Captioner
from dermray.columns import Tally, batches, tally
from dermray.manifest import Result, Rows
from dermray.vlm.vqa import judge, page, rows, scores, seen, told
from dermray.vlm.vqa.asking import Pass, Place
from dermray.vlm.vqa.bert import BertScore
from dermray.vlm.vqa.finish import Finish
from dermray.vlm.vqa.questions import PAIRS
from dermray.vlm.vqa.settings import Answerer, VqaConfig

Experts = dict[str, dict[tuple[str, str], int]]


def run(config: VqaConfig) -> Result:
    """Ask, score, compare.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: missing inputs, no truth for a question, no references where
        they are needed, an endpoint that refuses: all before Ray starts. ValueError: no captioner answered anything.
    """
    source = manifest.read(config.rows)
    found = [_captioner(who, config) for who in config.captioners]
    experts = judge.read_experts(config.expert_grades)
    inputs = {"rows": source} | {
        f"captioner_{i}": result for i, captioner in enumerate(found) for result in captioner.inputs.values()
    }
    with manifest.work("vqa", config.output, config, inputs, **_identity(found, experts, config)) as work:
        if work.finished:
            return work.finished
        _require_unseen(source, found, config)
        questions, number, references = _write_questions(source, work.data, config)
        _require_known(experts, questions, config)
        answers = [
            choose.prepared(captioner.model, config.host(who).model_copy(update=captioner.settings))
            for who, captioner in zip(config.captioners, found, strict=True)
        ]
        judging = choose.prepared(config.judge.model, config.judge) if config.judge else None
        from dermray.cluster import connect

        connect(work.data)
        for i, (who, captioner, answer) in enumerate(zip(config.captioners, found, answers, strict=True)):
            print(f"      {who.name}: {number} questions", flush=True)
            _pass(i, who, captioner, answer, work.data, config).run(number)
        if judging is not None and references:
            _judge(judging, work.data, config)
        return _finish(work, source, number, experts, config)


def _require_unseen(source: Result, found: list[Captioner], config: VqaConfig) -> None:
    """Refuse captioners that learned from images of the held-out split. Of what has no manifest nobody knows."""
    if config.split in ("all", "train") or not any(captioner.inputs for captioner in found):
        return
    asked = rows.chosen(source, config)["sample_id"].combine_chunks()
    for who, captioner in zip(config.captioners, found, strict=True):
        for result in captioner.inputs.values():
            seen.require_unseen(who.name, str(who.captioner), result, asked)


def _identity(found: list[Captioner], experts: Experts, config: VqaConfig) -> dict[str, str]:
    """What the result depends on beside config and inputs: weights, and files of experts."""
    identity = {f"model_{i}": f"{captioner.name} {captioner.revision}" for i, captioner in enumerate(found)}
    for name, grades in experts.items():
        identity[f"expert_{name}"] = json.dumps(sorted([*answer, grade] for answer, grade in grades.items()))
    if config.bertscore_model is not None:
        place = weights.everywhere(config.bertscore_model, "bertscore_model")
        identity["bertscore"] = str(weights.revision_of(place, None))
    return identity


def _captioner(who: Answerer, config: VqaConfig) -> Captioner:
    if who.remote is not None:
        return Captioner(who.remote.model, who.remote.model, None)
    assert who.captioner is not None
    engine = who.engine or config.engine
    return models.chosen(who.captioner, engine)


def _write_questions(source: Result, data: str, config: VqaConfig) -> tuple[str, int, bool]:
    """Where the questions lie, how many, and whether some have references. Written whole before any is asked."""
    target, note = storage.join(data, "questions"), storage.join(data, "questions.json")
    if not storage.exists(note):  # not there, or not whole
        chosen = rows.chosen(source, config)
        names = rows.questions_for(chosen, config)
        number = rows.write_questions(chosen, names, target)
        if not number:
            raise ValueError(f"questions={names}: none of the {len(chosen)} images has the truth for any of them")
        storage.write_bytes(note, json.dumps({"names": names, "images": len(chosen), "questions": number}).encode())
    written = json.loads(storage.read_bytes(note))
    return target, int(written["questions"]), PAIRS in written["names"]


def _require_known(experts: Experts, questions: str, config: VqaConfig) -> None:
    """Refuse experts' grades of what is not asked here."""
    if not experts:
        return
    names = {who.name for who in config.captioners}
    known = {i for batch in batches(questions, ["answer_id"]) for i in batch["answer_id"].to_pylist()}
    for expert, grades in experts.items():
        strange = [key for key in grades if key[0] not in names or key[1] not in known]
        if strange or not grades:
            raise ValueError(
                f"expert_grades of {expert}: {len(strange)} of {len(grades)} grades are of no answer of this run, such "
                f"as {strange[:1]}; expected captioners out of {sorted(names)} and its own answer ids"
            )


def _pass(i: int, who: Answerer, captioner: Captioner, answer: Answer, data: str, config: VqaConfig) -> Pass:
    place = Place(data, f"answers-{i}")
    constants = {
        "captioner": who.name,
        "captioner_model": captioner.name,
        "captioner_revision": captioner.revision,
        "sampling": config.sampling.model_dump_json(),
    }
    ask = Ask(captioner.model, config.sampling, None, config.rows_per_block, place.ledger, place.cache,
              config.max_engine_errors, "answer_id")  # fmt: skip
    return Pass(place, storage.join(data, "questions"), _answers(data, i), answer, ask, Finish(constants),
                rows.ANSWERS, config.image_side)  # fmt: skip


def _answers(data: str, i: int) -> str:
    return storage.join(data, "rows", str(i))


def _judge(answer: Answer, data: str, config: VqaConfig) -> None:
    assert config.judge is not None
    for i, who in enumerate(config.captioners):
        place = Place(data, f"grades-{i}")
        questions, note = storage.join(place.kept, "questions"), storage.join(place.kept, "questions.json")
        if not storage.exists(note):
            number = rows.write(questions, judge.to_judge(_answers(data, i)), rows.JUDGED)
            storage.write_bytes(note, json.dumps(number).encode())
        number = int(json.loads(storage.read_bytes(note)))
        if not number:
            continue
        print(f"      {who.name}: {number} answers to the judge", flush=True)
        ask = Ask(config.judge.model, config.judge_sampling, judge.SCHEMA, config.rows_per_block, place.ledger,
                  place.cache, config.max_engine_errors, "answer_id")  # fmt: skip
        Pass(place, questions, storage.join(data, "grades", str(i)), answer, ask, judge.Graded(), rows.GRADES,
             config.image_side).run(number)  # fmt: skip


def _finish(work: manifest.Work, source: Result, number: int, experts: Experts, config: VqaConfig) -> Result:
    """Score, compare, show, commit."""
    names = [who.name for who in config.captioners]
    statuses = [tally(_answers(work.data, i), []) for i in range(len(names))]
    total: Tally = sum(statuses, Tally())
    if not any(status == "ok" for status, _ in total):
        raise ValueError(f"no answer out of {total.total()} is usable: {total.most_common(3)}; try another captioner")
    answered = {name: _scored(work.data, i, config) for i, name in enumerate(names)}
    result = scores.evaluate(answered, config.resamples, config.seed)
    result["rows"] = {name: Rows.count(count).model_dump() for name, count in zip(names, statuses, strict=True)}
    result["captioning"] = {name: _told(work.data, i, who, config) for i, (name, who) in
                            enumerate(zip(names, config.captioners, strict=True))}  # fmt: skip
    result["judge"] = _judge_agreement(work.data, answered, experts, config) if config.judge else None
    storage.write_bytes(storage.join(work.data, "scores.json"), json.dumps(result, indent=1).encode())
    examples = page.examples(source.row_files(), [_answers(work.data, i) for i in range(len(names))], config.examples)
    title = f"Questions and answers: {', '.join(names)}"
    storage.write_bytes(
        storage.join(work.data, "page.html"), page.page(title, result, examples, names, config).encode()
    )
    said = told.summary(result, names)
    cpus, gpus = (
        sum(each) for each in zip(*(summary.held(config.host(who)) for who in config.captioners), strict=True)
    )
    return work.commit(
        Rows.count(total), number * len(names), cpus=cpus, gpus=gpus, temporary=["passes/"], vqa=result, summary=said,
        page="page.html",
    )  # fmt: skip


def _scored(data: str, i: int, config: VqaConfig) -> scores.Answered:
    """Scores in the answers, and those that a model gives."""
    answered = scores.load(_answers(data, i))
    wanted = config.text_metrics
    if wanted is not None and "bleu" not in wanted:
        answered.counts = None
    if wanted is not None and "rouge" not in wanted:
        answered.values = {name: v for name, v in answered.values.items() if not name.startswith("ROUGE")}
    ids = answered.table["answer_id"].to_pylist()
    if wanted is not None and "bertscore" in wanted and config.bertscore_model:
        answered.more["BERTScore"] = _placed(ids, bert_values(_answers(data, i), config.bertscore_model))
    if config.judge is not None:
        answered.more["judge's grade"] = _placed(ids, _grades(data, i))
    return answered


def bert_values(answers: str, model: str) -> dict[str, float]:
    """answer_id -> BERTScore, of answers that have a reference and no failed engine; unusable ones count as empty."""
    score, found = BertScore(model), dict[str, float]()
    columns = ["answer_id", "answer", "reference", "status"]
    for batch in batches(answers, columns, pc.field("reference").is_valid() & (pc.field("status") != "failed")):
        texts = [t if s == "ok" else "" for t, s in zip(batch["answer"].to_pylist(), batch["status"].to_pylist(),
                                                        strict=True)]  # fmt: skip
        values = score(texts, batch["reference"].to_pylist())
        found |= dict(zip(batch["answer_id"].to_pylist(), map(float, values), strict=True))
    return found


def _grades(data: str, i: int) -> dict[str, float]:
    """answer_id -> grade; an unusable answer is wrong without being shown to the judge."""
    graded = storage.join(data, "grades", str(i))
    found = dict[str, float](judge.grades_of(graded)) if storage.exists(graded) else {}
    rejected = pc.field("reference").is_valid() & (pc.field("status") == "rejected")
    for batch in batches(_answers(data, i), ["answer_id", "reference", "status"], rejected):
        found |= dict.fromkeys(batch["answer_id"].to_pylist(), 0.0)
    return found


def _placed(ids: list[str], values: dict[str, float]) -> np.ndarray:
    return np.array([values.get(i, np.nan) for i in ids], float)


def _told(data: str, i: int, who: Answerer, config: VqaConfig) -> dict[str, Any]:
    """Rates, tokens and cost of one captioner's pass."""
    counts = summary.count(_answers(data, i))
    return summary.summarise(counts, Place(data, f"answers-{i}").ledger, config.host(who), summary.Counts())


def _judge_agreement(
    data: str, answered: dict[str, scores.Answered], experts: Experts, config: VqaConfig
) -> dict[str, Any]:
    """The judge's grades by status, and their agreement with each expert's."""
    judged, statuses = dict[tuple[str, str], int](), {}
    for i, name in enumerate(answered):
        graded = storage.join(data, "grades", str(i))
        if storage.exists(graded):
            judged |= {(name, answer): grade for answer, grade in judge.grades_of(graded).items()}
            statuses[name] = Rows.count(tally(graded, [])).model_dump()
    table = next(iter(answered.values())).table
    clusters = dict(zip(table["answer_id"].to_pylist(), scores.leak_groups(table), strict=True))
    assert config.judge is not None
    return {
        "model": config.judge.model,
        "grades": list(judge.WORDS),
        "rows": statuses,
        "experts": {
            name: judge.agreement(judged, grades, clusters, config.resamples, config.seed)
            for name, grades in experts.items()
        },
    }
