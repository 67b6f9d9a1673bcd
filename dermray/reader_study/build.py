"""`dermray reader-study build`: originals and synthetic images in; a folder for readers and a sealed key out."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dermray import manifest, pages, storage
from dermray.classification.predict import result_of
from dermray.classification.targets import Target
from dermray.datasets.decode import BadImage
from dermray.datasets.leaks import require_whole_groups
from dermray.manifest import Result, Rows, Work
from dermray.picked import images
from dermray.reader_study import form, key
from dermray.reader_study.choosing import Candidate, Source, choose, hashed, table
from dermray.reader_study.packing import ONE_TIME, packed
from dermray.reader_study.questions import AI, ORIGINAL, Question, questions
from dermray.reader_study.settings import BuildConfig
from dermray.reader_study.shown import shown

TEMPLATE = Path(__file__).parent / "instructions.html"
IMAGES = f"{key.READERS}/images"
INSTRUCTIONS = f"{key.READERS}/instructions.html"


def run(config: BuildConfig) -> Result:
    """Draw, make alike, shuffle, seal.

    Raises:
        FileNotFoundError, ValueError: missing inputs, results of other stages, too few images of a class.
        ImportError: a workbook without openpyxl.
    """
    rows = result_of(config.rows, "rows", ("ingest", "caption"))
    synthetic = manifest.read(config.synthetic, "generate")
    if config.excel:
        form.require_openpyxl()
    with manifest.work(key.BUILD, config.output, config, {"rows": rows, "synthetic": synthetic}) as work:
        if work.finished:
            return work.finished
        require_whole_groups(rows)
        warnings = _warnings(config, rows, synthetic)
        for warning in warnings:
            print(f"      warning: {warning}", flush=True)
        chosen, detail = _chosen(config, rows, synthetic)
        study, commitment = _write(work, config, chosen, detail)
        return work.commit(
            Rows(rows_in=len(chosen), ok=len(chosen), rejected=0, failed=0),
            len(chosen),
            commitment=commitment,
            study=study,
            images_of_each=config.originals_per_class,
            synthetic_of_each=config.synthetic_per_class,
            detail=detail,
            warnings=warnings,
            page=INSTRUCTIONS,
            summary=f"{study}: {len(chosen)} images; give readers {work.data}/{key.READERS}"
            f"{'.zip' if config.zipped else ''} and nothing else, the key is {work.data}/{key.KEY}",
        )


def _warnings(config: BuildConfig, rows: Result, synthetic: Result) -> list[str]:
    """What may have let the generator see the originals."""
    said = []
    if synthetic.manifest.inputs.get("rows") != rows.manifest.key:
        said.append(
            f"rows={config.rows} is another result than the one that the generator was trained on: that its "
            f"{config.split} split kept these images from it is not checked; the caption result can be checked"
        )
    if config.split == "train":
        said.append("split=train: the generator and classifiers of these rows have seen the originals")
    return said


def _chosen(config: BuildConfig, rows: Result, synthetic: Result) -> tuple[list[tuple[Candidate, str]], int]:
    """Rows with their origin in the order in which they are shown, and px to which all are reduced first."""
    target = config.target()
    made = choose(_synthetic(config, synthetic), target, config.seed)
    detail = min(config.side, *(min(one.row["width"], one.row["height"]) for one in made))
    originals = choose(_originals(config, rows, made, detail), target, config.seed)
    both = [(one, AI) for one in made] + [(one, ORIGINAL) for one in originals]
    # by a hash of the id, which readers do not know: numbers from the seed alone would be known to who knows the seed
    return sorted(both, key=lambda item: hashed(config.seed, "order", item[0].row["sample_id"])), detail


def _synthetic(config: BuildConfig, synthetic: Result) -> Source:
    once = config.one_per_prompt
    return Source(
        kind=AI,
        count=config.synthetic_per_class,
        rows=synthetic.row_files(),
        where=pc.field("status") == "ok",
        columns=("prompt_sample_id",),
        group="prompt_sample_id" if once else "sample_id",
        mend="Generate more, or lower synthetic_per_class" + (", or one_per_prompt=false" if once else ""),
    )


def _originals(config: BuildConfig, rows: Result, made: list[Candidate], detail: int) -> Source:
    prompts = pc.field("sample_id").isin([one.row["prompt_sample_id"] for one in made if one.row["prompt_sample_id"]])
    return Source(
        kind=ORIGINAL,
        count=config.originals_per_class,
        rows=rows.row_files(),
        where=(pc.field("split") == config.split) & (pc.field("origin") == "real") & ~prompts,
        columns=("split", "origin"),
        group="leak_group",
        least_side=detail,
        mend=f"Take more rows than those of split={config.split}, or lower originals_per_class"
        + (f"; a side below {detail} admits smaller images" if detail > 32 else ""),
    )


def _write(work: Work, config: BuildConfig, chosen: list[tuple[Candidate, str]], detail: int) -> tuple[str, str]:
    """The study's files; its name and the commitment."""
    target = config.target()
    asked = questions(target.column, target.classes)
    names = [f"{number:0{max(3, len(str(len(chosen))))}d}.png" for number in range(1, len(chosen) + 1)]
    pictures = _pictures([one for one, _ in chosen], detail, config.side)
    told = key.Key(
        column=target.column,
        classes=list(target.classes),
        images=[
            _told(name, picture, origin, one, target)
            for name, picture, (one, origin) in zip(names, pictures, chosen, strict=True)
        ],
    )
    data, commitment = key.seal(told)
    study = key.study_of(commitment)
    files = {f"{IMAGES}/{name}": picture for name, picture in zip(names, pictures, strict=True)}
    files |= _forms(study, names, asked, config) | {key.STUDY: _about(study, commitment, names, asked, config)}
    storage.delete_tree(storage.join(work.data, key.READERS))  # of an attempt with another random number
    storage.write_bytes(storage.join(work.data, key.KEY), data)
    for name, content in files.items():
        _write_one(storage.join(work.data, name), content)
    if config.zipped:
        _write_one(storage.join(work.data, f"{key.READERS}.zip"), packed(files, key.READERS))
    return study, commitment


def _pictures(chosen: list[Candidate], detail: int, side: int) -> list[bytes]:
    found: dict[int, bytes] = {}
    for place, encoded in images(table(chosen)):
        try:
            found[place] = shown(encoded, detail, side)
        except BadImage as error:
            raise ValueError(f"image {chosen[place].row['sample_id']}: {error}; ingest these rows again") from None
    return [found[place] for place in range(len(chosen))]


def _told(name: str, picture: bytes, origin: str, one: Candidate, target: Target) -> key.Shown:
    return key.Shown(
        image=name,
        sha256=hashlib.sha256(picture).hexdigest(),
        truth=target.classes[one.number],
        origin=origin,
        sample_id=one.row["sample_id"],
        group=one.row.get("leak_group") if origin == ORIGINAL else one.row["prompt_sample_id"],
        source=one.row["source"],
    )


def _forms(study: str, names: list[str], asked: tuple[Question, ...], config: BuildConfig) -> dict[str, bytes]:
    forms = {f"{key.READERS}/answers.csv": form.as_csv(study, names, asked)}
    if config.excel:
        forms[f"{key.READERS}/answers.xlsx"] = form.as_workbook(study, names, asked)
    text = pages.render(TEMPLATE, title=config.title, study=study, names=names, asked=asked, excel=config.excel)
    return forms | {INSTRUCTIONS: text.encode()}


def _about(study: str, commitment: str, names: list[str], asked: tuple[Question, ...], config: BuildConfig) -> bytes:
    """For programs that show the study: what is asked, and of which files."""
    about: dict[str, Any] = {
        "format": key.FORMAT,
        "study": study,
        "commitment": commitment,
        "title": config.title,
        "questions": [_asked(question) for question in asked],
        "columns": form.columns(asked),
        "confidence": [0, form.MOST],
        "side": config.side,
        "images": [f"images/{name}" for name in names],
    }
    return json.dumps(about, indent=1).encode()


def _asked(question: Question) -> dict[str, Any]:
    words = zip(question.classes, question.meanings, strict=True)
    return {"column": question.column, "answers": [{"word": word, "meaning": meaning} for word, meaning in words]}


def _write_one(uri: str, content: bytes) -> None:
    storage.write_bytes(uri, content)
    if not storage.is_s3(uri):  # which keeps times of its own, in the order of the names, and so of chance
        os.utime(uri, (ONE_TIME, ONE_TIME))
