"""`dermray export RESULT DIRECTORY`: a result as a data set that others' tools open. Killed, it goes on."""

import json
from dataclasses import dataclass
from typing import Any

from dermray import manifest, storage
from dermray.config import ConfigError, decisive
from dermray.leak_mark import leak_mark
from dermray.lease import hold
from dermray.manifest import Result
from dermray.progress import Progress, busy, watched
from dermray.publishing import as_imagefolder, as_json, as_parquet, as_webdataset, place
from dermray.publishing.attribution import is_own
from dermray.publishing.begun import begun, goes_on
from dermray.publishing.card import card
from dermray.publishing.conversations import MESSAGES
from dermray.publishing.croissant import croissant
from dermray.publishing.facts import Facts
from dermray.publishing.licences import require_allowed
from dermray.publishing.plan import Shard, planned
from dermray.publishing.rows import rows_of
from dermray.publishing.selection import Selection
from dermray.publishing.settings import ALWAYS, COLUMNS, SPOKEN, STAGES, PublishConfig
from dermray.publishing.survey import Survey, surveyed
from dermray.publishing.wrote import Wrote
from dermray.records import CAPTIONED, IMAGES, INSTRUCTED, SYNTHETIC, TRUTH_COLUMNS
from dermray.tasks import each_in_ray

FORMATS: dict[str, Any] = {
    "parquet": as_parquet,
    "imagefolder": as_imagefolder,
    "webdataset": as_webdataset,
    "hf": as_parquet,
    "llava": as_json.LLAVA,
    "sharegpt": as_json.SHAREGPT,
}
SCHEMAS = dict(zip(STAGES, (IMAGES, CAPTIONED, INSTRUCTED, SYNTHETIC), strict=True))
TRUTH = [name for name, _ in TRUTH_COLUMNS]  # of phantoms
IDS = ("source_id", "patient_id", "lesion_id")  # names that a clinic of one's own gave
TOLD = ("source", "licence")  # in lists of conversations, whose readers want no more
FILES_PER_TASK = 64  # of which the small columns are counted


@dataclass(frozen=True)
class Exported:
    """What lies where now."""

    output: str
    format: str
    splits: dict[str, int]
    notes: tuple[str, ...] = ()  # for whoever hands it on

    def __str__(self) -> str:
        """For the command line."""
        counts = ", ".join(f"{number} {split}" for split, number in self.splits.items())
        lines = [f"{self.output}: {sum(self.splits.values())} images as {self.format} ({counts})", *self.notes]
        return "\n  ".join([*lines, f"look at {self.output}/{place.CARD} before you hand it on"])


def export(config: PublishConfig) -> Exported:
    """Write the data set; one that was cut short goes on with the shards that are missing.

    Raises:
        ConfigError: `output` holds something else, no row is meant, or licences forbid it. FileNotFoundError,
            ValueError: no result of a stage with images. RuntimeError: rows are missing, or a leak group lies in two
            splits. OutputTaken: another export is at work there.
    """
    result = _read(config.result)
    if config.format in SPOKEN and result.manifest.stage == "ingest":
        raise ConfigError(
            f"format={config.format}: {config.result} is of the ingest stage, whose rows have neither questions nor "
            "captions; caption them or ask with `dermray instruct` first, or choose parquet, imagefolder or webdataset"
        )
    ingest = _ingest(config, result)
    output = storage.normalise(config.output)
    work = {"result": result.manifest.key} | {
        name: value for name, value in decisive(config).items() if name not in ("result", "output", "ingest")
    }
    note, other = storage.join(output, place.NOTE), "of another result or with other settings"
    if goes_on(output, note, work, other) and storage.exists(storage.join(output, place.CARD)):
        return _finished(output)
    from dermray.cluster import connect

    connect(output)
    selection = Selection(config.where, tuple(config.permitted), config.leave_out_forbidden)
    with watched(busy("counting rows, licences and leak groups")):
        survey = _surveyed(result, selection)
    groups = _require(survey, result, config)
    columns = _columns(config, survey, result.manifest.stage)
    form = FORMATS[config.format]
    shards = planned(survey.files, config.shard_mb * 10**6, form.MOST_ROWS)
    resumed = begun(output, note, work, other)
    with hold(storage.join(output, place.CLAIM)):
        if storage.exists(storage.join(output, place.CARD)):  # another export of the same was quicker
            return _finished(output)
        if resumed:
            place.remove_partial(output)
        wrote = _written(shards, selection, columns, config, output)
        if hasattr(form, "joined"):
            wrote.files += form.joined(output, shards)
        title = config.name or output.rpartition("/")[2]
        facts = Facts(title, config, result, ingest, survey, wrote, columns, groups, form.PATTERN)
        summary = {"format": config.format, "splits": facts.splits, "notes": facts.notes}
        place.finish(output, croissant(facts), card(facts), summary)
    place.tidy(output)
    return _finished(output)


def _read(uri: str) -> Result:
    result = manifest.read(uri)
    if result.manifest.stage not in STAGES:
        raise ValueError(
            f"{uri}: result of stage {result.manifest.stage!r}, which has no images to export; expected one of "
            f"{', '.join(STAGES)}, or of train for its LoRA adapter"
        )
    return result


def _ingest(config: PublishConfig, result: Result) -> Result | None:
    """The ingest that split these rows, where it is at hand."""
    if result.manifest.stage == "ingest":
        return result
    if config.ingest is None:
        return None
    ingest = manifest.read(config.ingest, "ingest")
    if ingest.manifest.key not in result.manifest.inputs.values():
        raise ConfigError(
            f"ingest={config.ingest}: key {ingest.manifest.key}; {config.result} was made of {result.manifest.inputs}"
        )
    return ingest


def _finished(output: str) -> Exported:
    said = json.loads(storage.read_bytes(storage.join(output, place.FINISHED)))
    return Exported(output, said["format"], said["splits"], tuple(said["notes"]))


def _surveyed(result: Result, selection: Selection) -> Survey:
    files, survey = result.row_files().files(), Survey()
    parts = [tuple(files[start : start + FILES_PER_TASK]) for start in range(0, len(files), FILES_PER_TASK)]
    found = dict(each_in_ray(surveyed, parts, selection))
    for part in parts:  # in the files' order
        survey.merge(found[part])
    return survey


def _require(survey: Survey, result: Result, config: PublishConfig) -> int:
    """What must hold before anything is written; how many leak groups there are."""
    if mark := leak_mark(result.manifest.leaking_groups):
        raise ConfigError(
            f"{config.result}: {mark}; an exported data set promises splits that share no patient or lesion: ingest "
            "with split_by: group, and export that"
        )
    total, ok = survey.rows.total() + survey.left_out.total(), result.manifest.rows.ok
    if not config.where and total != ok:
        raise RuntimeError(f"{result.uri}: {total} usable rows there, and its manifest says {ok}; make it again")
    require_allowed(survey.by("source", "licence"), config.permitted)
    if not survey.rows:
        why = "their licences forbid it" if survey.left_out else f"where={config.where} matches none"
        raise ConfigError(f"{config.result}: no row is left to export ({why})")
    return survey.leak_groups()


def _columns(config: PublishConfig, survey: Survey, stage: str) -> list[str]:
    """What is exported beside the image, sample_id first."""
    if config.columns is not None:
        chosen = [name for name in COLUMNS if name in config.columns]
    else:
        sources = {source for (source,) in survey.by("source")}
        chosen_from = TOLD if config.format in ("llava", "sharegpt") else COLUMNS
        here = {"image", *(IDS if any(map(is_own, sources)) and not config.keep_ids else ())}
        here |= set() if "phantom" in sources else set(TRUTH)
        here |= {"answer"} if stage == "instruct" else set()  # whole: rejected pairs among it
        chosen = [name for name in chosen_from if name in SCHEMAS[stage].names and name not in here]
    spoken, never = ([MESSAGES.name], ["pairs"]) if config.format in SPOKEN else ([], [])
    return ["sample_id", *spoken, *(name for name in chosen if name not in (*ALWAYS, *config.without, *never))]


def _written(
    shards: list[Shard], selection: Selection, columns: list[str], config: PublishConfig, output: str
) -> Wrote:
    """All shards in their places; those that an earlier run noted are left as they are."""
    notes = place.done(output, shards)
    missing, before = [shard for shard in shards if shard not in notes], len(notes)
    with watched(lambda: Progress(len(notes), len(shards), "shards written")):
        for shard, wrote in each_in_ray(_write, missing, selection, columns, config, output):
            notes[shard] = wrote
    assert len(notes) == before + len(missing) == len(shards), "each shard once"
    total = Wrote()
    for shard in shards:
        total.merge(notes[shard])
    return total


def _write(shard: Shard, selection: Selection, columns: list[str], config: PublishConfig, output: str) -> Wrote:
    """A shard, and then its note. To be called in a Ray task."""
    rows = rows_of(shard, selection, columns)
    wrote: Wrote = FORMATS[config.format].write(output, shard, rows, columns, config.threads)
    storage.write_bytes(place.note_of(output, shard), wrote.note())
    return wrote
