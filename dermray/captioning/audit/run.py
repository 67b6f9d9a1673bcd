"""`dermray audit-captions`: one or several captioning results in; numbers, a report and a page for experts out."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.compute as pc
from pydantic import Field, field_validator

from dermray import manifest, pages, storage
from dermray.captioning.accuracy import attribute_accuracy
from dermray.captioning.audit import experts
from dermray.captioning.audit.diversity import describe
from dermray.captioning.audit.leak import label_leak
from dermray.captioning.audit.mentions import names_the_diagnosis, rates
from dermray.config import Config
from dermray.datasets.decode import portable
from dermray.exactly_once import Ids, shared
from dermray.manifest import Result, Rows
from dermray.picked import least, pick, take
from dermray.records import about, read_columns
from dermray.result_fields import ResultOf
from dermray.row_files import RowFiles

HERE = Path(__file__).parent
TEXT = ["sample_id", "answer", "caption", "malignant", "leak_group", "diagnosis", "entity", "skin_tone", "sex", "age",
        "site", "modality", "status"]  # fmt: skip


class AuditConfig(Config):
    """Which captions, how many of them."""

    output: str
    captions: list[Annotated[str, ResultOf("caption")]] = Field(
        min_length=1, description="results of the caption stage; several are compared"
    )
    max_rows: int = Field(20_000, ge=50, description="audited per result, drawn by sample_id")
    folds: int = Field(5, ge=2)
    images: int = Field(100, ge=1, description="on the experts' page, where several results are compared")
    expert_answers: list[str] = Field([], description="files that experts saved from the page")
    seed: int = Field(0, ge=0)

    @field_validator("captions")
    @classmethod
    def _told_apart(cls, captions: list[str]) -> list[str]:
        if len(set(captions)) < len(captions):
            raise ValueError("expected each result once")
        return captions


def run(config: AuditConfig) -> Result:
    """Audit every result.

    Raises:
        FileNotFoundError, ValueError: missing results, no usable caption, answers to another page.
    """
    results = {f"captions_{i}": manifest.read(uri, "caption") for i, uri in enumerate(config.captions)}
    answers = [experts.read_answers(uri) for uri in config.expert_answers]
    # files are inputs too: other answers, other audit
    identity = {f"answers_{a['expert']}": json.dumps(a["grades"], sort_keys=True) for a in answers}
    with manifest.work("audit-captions", config.output, config, results, **identity) as work:
        if work.finished:
            return work.finished
        names = _names(list(results.values()))
        audits = {name: audit(result, config) for name, result in zip(names, results.values(), strict=True)}
        agreed = experts.agreement(answers, names, config.seed) if answers else None
        storage.make_directory(work.data)
        _write(work.data, "audit.json", json.dumps({"captioners": audits, "experts": agreed}, indent=1))
        compared = len(names) > 1
        if compared:
            shared = _shared(list(results.values()), config)
            _write(work.data, "compare.html", compare_page(shared, config.seed))
        page = pages.render(HERE / "audit.html", audits=audits, agreed=agreed, compared=compared, grades=experts.GRADES)
        _write(work.data, "audit.html", page)
        total = sum(a["audited"] for a in audits.values())
        return work.commit(
            Rows(rows_in=total, ok=total, rejected=0, failed=0),
            total,
            captioners=audits,
            experts=agreed,
            page="audit.html",
        )


def compare_page(images: list[dict[str, Any]], seed: int) -> str:
    """What experts grade. Its id keeps its answers apart from those to other pages in the same browser."""
    told = json.dumps([[image["sample_id"], image["answers"]] for image in images])
    page_id = hashlib.sha256(told.encode()).hexdigest()[:12]
    return pages.render(HERE / "compare.html", images=images, seed=seed, grades=experts.GRADES, page_id=page_id)


def audit(result: Result, config: AuditConfig) -> dict[str, Any]:
    """Everything that one result's captions are asked."""
    files = result.row_files()
    rows = _sample(files, result.manifest.rows.ok, config.max_rows)
    if not rows:
        raise ValueError(f"{result.uri}: no usable caption to audit")
    texts = [row["answer"] for row in rows]
    labelled = [row for row in rows if row["malignant"] is not None]
    labels = np.array([row["malignant"] for row in labelled], bool)
    groups = [row["leak_group"] for row in labelled]
    return {
        "result": result.uri,
        "prompt_set": result.manifest.config["prompt_set"],
        "captions": result.manifest.rows.ok,
        "audited": len(rows),
        "usable_share": result.manifest.rows.ok / result.manifest.rows.rows_in,
        "metadata": rates(rows),
        "label_leak": label_leak([row["answer"] for row in labelled], labels, groups, config.folds, config.seed),
        "names_a_diagnosis": float(np.mean([names_the_diagnosis(row["answer"], row) for row in rows])),
        "diversity": describe(texts),
        "phantom_accuracy": attribute_accuracy(files),
    }


def _sample(files: RowFiles, total: int, most: int) -> list[dict[str, Any]]:
    """At most about `most` usable rows."""
    where = (pc.field("status") == "ok") & about(most, total)
    rows: list[dict[str, Any]] = read_columns(files, TEXT, where).sort_by("sample_id").to_pylist()
    return rows


def _names(results: list[Result]) -> list[str]:
    """A name for each captioner that tells them apart."""
    short = [f"{Path(r.uri).name} ({r.manifest.config['prompt_set']})" for r in results]
    return [name if short.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(short)]


def _shared(results: list[Result], config: AuditConfig) -> list[dict[str, Any]]:
    """Images that every captioner captioned, with their answers in shuffled columns."""
    ok = pc.field("status") == "ok"
    ids = [Ids(result.row_files(), ("sample_id",), ok) for result in results]
    common = least(shared(*ids), config.images)["sample_id"]
    if not len(common):
        raise ValueError("captions: the results have no image in common; compare captioners on the same rows")
    wanted = ok & pc.field("sample_id").isin(common.combine_chunks())
    said = [pick(result.row_files(), ["answer"], wanted) for result in results]
    answers = [dict(zip(table["sample_id"].to_pylist(), table["answer"].to_pylist(), strict=True)) for table in said]
    return [
        {
            "sample_id": sample,
            "url": pages.data_url(portable(image, pages.SIDE)),
            "answers": [answers[i][sample] for i in experts.order(sample, len(results), config.seed)],
        }
        for sample, image in zip(said[0]["sample_id"].to_pylist(), take(said[0]), strict=True)
    ]


def _write(data: str, name: str, text: str) -> None:
    storage.write_bytes(storage.join(data, name), text.encode())
