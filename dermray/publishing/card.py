"""README.md of an export: what it is, what it must not be used for, counts, licences, splits, provenance."""

import json

import pyarrow as pa

from dermray import __version__
from dermray.publishing.conversations import MEANING, MESSAGES
from dermray.publishing.facts import Facts
from dermray.publishing.features import IMAGE, shown
from dermray.publishing.front_matter import front_matter
from dermray.publishing.licences import LICENCES
from dermray.publishing.meanings import MEANINGS
from dermray.publishing.plan import NAMES
from dermray.publishing.tables import UNKNOWN, counted, table, text

OPENED = {
    "parquet": 'load_dataset("{place}")  # images are PIL images',
    "imagefolder": 'load_dataset("{place}")  # or ("imagefolder", data_dir="{place}"); images are PIL images',
    "webdataset": 'load_dataset("{place}")  # or the library webdataset: {place}/data/train-*.tar',
    "hf": 'load_dataset("{place}")  # images are PIL images, messages are turns of a chat template',
    "llava": 'load_dataset("{place}")  # or LLaVA: --data_path {place}/train.json --image_folder {place}',
    "sharegpt": 'load_dataset("{place}")  # or LLaMA-Factory: dataset_dir: {place}, dataset: train',
}
SHOWN = {  # of columns that only some formats have
    "id": MEANINGS["sample_id"],
    MESSAGES.name: MEANING,
    "conversations": MEANING,
    "image": "the image, or its file below this directory",
    "images": "the image's file below this directory",
}


def card(facts: Facts) -> bytes:
    """The file, UTF-8. The same bytes for the same export."""
    body = [
        f"# {text(facts.title)}", _what(facts), _not_for(facts), _opening(facts), counted(facts), _licences(facts),
        _split(facts), _columns(facts), _images(facts), _provenance(facts),
    ]  # fmt: skip
    return ("---\n" + front_matter(facts) + "---\n" + "\n\n".join(body) + "\n").encode()


def _what(facts: Facts) -> str:
    kinds = {"photographs": facts.rows - facts.synthetic - facts.phantoms, "drawn by a model": facts.synthetic}
    kinds["drawn phantoms, which show no lesion"] = facts.phantoms
    told = ", ".join(f"{number} {what}" for what, number in kinds.items() if number)
    return (
        f"{facts.rows} images ({told}), exported from a result of the stage "
        f"`{facts.result.manifest.stage}` of dermray. This card is counted from the rows, not written by hand. "
        f"Metadata for machines: [croissant.json](croissant.json)."
    )


def _not_for(facts: Facts) -> str:
    lines = [
        "**No medical device.** Not for diagnosis, triage or treatment of anybody, nor to train a system for these "
        "without its own clinical validation and approval.",
        "Not to find out who is shown, and not to be joined with data that could tell.",
        "Not beyond the licences below, each of which holds for its own images.",
        "Not as evidence on groups that it hardly shows: look at the counts by skin tone and sex first.",
        "Not as a test of a model that was trained on another copy of these images: published dermatology data sets "
        "overlap, and names do not tell.",
    ]
    if facts.synthetic:
        lines.append(
            f"{facts.synthetic} images are synthetic: they show no patient, prove nothing about skin, their labels are "
            "what the generator was asked for, and a model is not to be tested on them as if they were photographs. "
            "Whoever hands them on must say that they are synthetic."
        )
    if facts.estimated_tones:
        lines.append(
            f"{facts.estimated_tones} skin tones are estimates from pixels (`skin_tone_source: estimated`), which "
            "lighting and camera shift: no ground truth, and nobody's ethnicity."
        )
    if facts.spoken:
        lines.append("Answers, and some of the questions, are written by a machine and may be wrong: no findings.")
    if "caption" in facts.columns:
        lines.append("Captions are written by a machine and may be wrong: they are no findings.")
    return "## What it must not be used for\n" + "\n".join(f"- {line}" for line in lines)


def _opening(facts: Facts) -> str:
    call = OPENED[facts.config.format].format(place="path/to/this/directory")
    return f"## How to open it\n```python\nfrom datasets import load_dataset\n\ndata = {call}\n```"


def _licences(facts: Facts) -> str:
    rows = [
        (f"[{name}]({LICENCES[name].url})" if name in LICENCES else name, number,
         LICENCES[name].asks if name in LICENCES else "ask whoever the images are from")
        for name, number in facts.licences.items()
    ]  # fmt: skip
    origins = [
        (f"[{origin.name}]({origin.url})" if origin.url else text(origin.name), source, number)
        for source, (origin, number) in facts.origins.items()
    ]
    parts = [
        "## Licences",
        "Every image has its own (column `licence`); all of them together are under the strictest. Synthetic images "
        "are under all licences of what their generator learned from.",
        table(("licence", "images", "asks"), rows),
        "Credit these, and cite their papers:",
        table(("data set", "`source`", "images"), origins),
    ]
    if facts.config.permitted:
        parts.append(
            f"Whoever exported this says that they have the right to hand on images under: "
            f"{', '.join(facts.config.permitted)}."
        )
    if facts.survey.left_out:
        left = [
            (source, licence or UNKNOWN, n) for (source, licence), n in sorted(facts.survey.left_out.items(), key=str)
        ]
        parts += ["Left out, because their licence does not let them be handed on:",
                  table(("`source`", "licence", "images"), left)]  # fmt: skip
    return "\n\n".join(parts)


def _split(facts: Facts) -> str:
    said = ["## How it was split"]
    if facts.groups:
        said.append(
            f"{facts.groups} leak groups: images that share a patient, a lesion, the same bytes or nearly the same "
            "pixels are one group, and a group lies in one split. This was checked over all exported rows. Splits that "
            "a publisher gave are kept. Whoever splits again should split by `leak_group`."
        )
    if facts.synthetic:
        said.append("Synthetic images are all to train: no real test image was shown to their generator by dermray.")
    if facts.ingest is None:
        said.append(
            f"The settings stand in the ingest result that this one was made of (key "
            f"`{facts.result.manifest.inputs.get('rows', UNKNOWN)}`), which was not at hand."
        )
        return "\n\n".join(said)
    config = facts.ingest.manifest.config
    shares = ", ".join(f"{NAMES[name]} {share:g}" for name, share in config.get("fractions", {}).items())
    said.append(
        f"Asked for: {shares}, of what has no published split; stratified by `{config.get('stratify')}`; seed "
        f"{config.get('seed')}. Classes left out: {', '.join(config.get('drop_classes') or []) or 'none'}."
    )
    uncompared = facts.ingest.manifest.metrics.get("near_duplicates_uncompared")
    if uncompared is not None:
        said.append(f"Pairs of look-alikes that were too many to compare: {uncompared}.")
    return "\n\n".join(said)


def _columns(facts: Facts) -> str:
    rows = [(f"`{field.name}`", _kind(field.type), (MEANINGS | SHOWN)[field.name])
            for field in shown(facts.config.format, facts.columns)]  # fmt: skip
    ids = "" if {"source_id", "patient_id", "lesion_id"} & set(facts.columns) else (
        " Names of files, patients and lesions stayed where the data are."
    )  # fmt: skip
    return f"## Columns\nWhat is unknown is null, never a guess.{ids}\n\n" + table(("column", "type", "meaning"), rows)


def _kind(kind: pa.DataType) -> str:
    return "image" if kind == IMAGE else str(kind)


def _images(facts: Facts) -> str:
    endings = ", ".join(f"{number} .{ending}" for ending, number in sorted(facts.wrote.endings.items()))
    lines = [f"{endings}. Bytes are those of the rows: the name of an image is their SHA-256."]
    if facts.survey.normalised:
        lines.append(
            f"{facts.survey.normalised} images are PNGs of what their source's own files show (turned upright, in sRGB "
            "or the like, see `modification`); `original_id` is the SHA-256 of these files."
        )
    if facts.survey.modified:
        lines.append(
            f"{facts.survey.modified} images are as they were found, and need what `modification` says: readers that "
            "ignore EXIF and colour profiles show them differently."
        )
    lines.append(
        f"{facts.wrote.positions} images hold a position (GPS) in their EXIF. Other EXIF, such as dates and serial "
        "numbers, is as the camera wrote it."
    )
    return "## Image files\n" + "\n".join(f"- {line}" for line in lines)


def _provenance(facts: Facts) -> str:
    made = facts.result.manifest
    inputs = ", ".join(f"{name} `{key}`" for name, key in sorted(made.inputs.items())) or "none"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items()))
    chosen = facts.config.model_dump(mode="json", include={"format", "where", "columns", "without", "shard_mb"})
    return (
        f"## Provenance\n- Result: stage `{made.stage}`, key `{made.key}`, made on {facts.made} with {versions}.\n"
        f"- Made of: {inputs}.\n"
        f"- Rows of that result: {made.rows.ok} ok, {made.rows.rejected} rejected, {made.rows.failed} failed; only "
        f"those that are ok are here.\n- Exported by dermray {__version__}: `{json.dumps(chosen)}`."
    )
