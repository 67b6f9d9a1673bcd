"""The tune-vlm stage: rows with words in, an adapter or a whole vision-language model out, by Ray Train."""

from collections.abc import Mapping

from dermray import manifest, storage, weights
from dermray.config import ConfigError
from dermray.datasets.leaks import require_whole_groups
from dermray.datasets.licences import of_result
from dermray.manifest import Result, Rows, Work
from dermray.pages import Block
from dermray.train_loop import TEMPORARY, fit, how_far
from dermray.train_loop.report_block import training_block
from dermray.vlm.tuning import base as bases
from dermray.vlm.tuning import merged
from dermray.vlm.tuning.adapters import locate_adapter
from dermray.vlm.tuning.base import Found
from dermray.vlm.tuning.bill import planned
from dermray.vlm.tuning.card import model_card
from dermray.vlm.tuning.encode import Tokens, Written, encode
from dermray.vlm.tuning.settings import TuneConfig as TuneConfig  # beside `run`, as every stage has its own
from dermray.vlm.tuning.survey import NO_IMAGE, Survey, find_rows, survey
from dermray.vlm.tuning.task import VlmTask


def run(config: TuneConfig) -> Result:
    """Tune on the train split and nothing else. An interrupted run goes on from its last checkpoint.

    Raises:
        FileNotFoundError, ValueError: missing or empty rows, a base or an adapter that cannot be tuned.
    """
    rows = find_rows(config.rows, config.learn)
    config.require_commercial(of_result(rows.uri, rows.manifest.licences))
    found = bases.find(config)
    if config.commercial_use:
        print(f"      commercial_use: the images' licences allow it; the base's is {found.licence}, yours to read")
    inputs = {"rows": rows} | found.inputs
    with manifest.work("tune-vlm", config.output, config, inputs, how_far, **_identity(config, found)) as work:
        if work.finished:
            return work.finished
        sizes = planned(config, found)
        told = f"{sizes[0]:,} weights are trained, {sizes[1]:,} are frozen"
        print(f"      {found.base.name} ({found.licence}): {told}", flush=True)
        train, held_out = _surveys(config, rows)
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        ray.get(ray.remote(require_whole_groups).remote(rows))
        task, written = _encoded(config, rows, found, work, train, held_out)
        work.require(written.count + sum(written.rejected.values()), train.drawn)
        report = fit(task, task.loop, work.data)
        whole = ray.get(ray.remote(merged.beside).remote(work.data))
        if whole:
            print(f"      merged, because {whole}; `captioner={config.output}` asks the merged model", flush=True)
        card = model_card(work, config, found, report, sizes, written.count)
        storage.write_bytes(storage.join(work.data, "model", "README.md"), card.encode())
        counts = _counted(train, written, config)
        return work.commit(
            counts,
            train.usable + _lacking(train),
            temporary=TEMPORARY,
            cpus=report["workers"] * config.loop.cpus_per_worker,
            gpus=report["workers"] * config.loop.gpus_per_worker,
            training=report,
            method=config.method,
            base=found.base.place,
            base_revision=found.base.revision,
            base_licence=found.licence,
            weights={"trained": sizes[0], "frozen": sizes[1]},
            tokens={"all": written.tokens, "learned": written.learned},
            merged=whole,
        )


def _identity(config: TuneConfig, found: Found) -> dict[str, str]:
    """What else the result depends on than its config."""
    named = {"base_revision": str(found.base.revision)}
    if config.start_from:
        named["start_from"] = weights.fingerprint(str(locate_adapter(config.start_from)))
    return named


def _surveys(config: TuneConfig, rows: Result) -> tuple[Survey, Survey | None]:
    """Of the train split and the val split; what becomes of the conversations is said.

    Raises:
        ValueError: nothing to learn from. ConfigError: nothing to validate on.
    """
    train = survey(rows.row_files(), config.learn, "train", config.samples)
    drawn = f", {train.drawn:,} of them drawn" if train.drawn < train.usable else ""
    print(f"      {train.usable:,} conversations in the train split{drawn}", flush=True)
    for reason, count in train.lacking.items():
        print(f"      warning: left out {count:,} times: {reason}", flush=True)
    if not config.validation_samples:
        return train, None
    try:
        return train, survey(rows.row_files(), config.learn, "val", config.validation_samples)
    except ValueError as error:
        raise ConfigError(f"validation_samples={config.validation_samples}: {error}; or give 0") from None


def _encoded(
    config: TuneConfig, rows: Result, found: Found, work: Work, train: Survey, held_out: Survey | None
) -> tuple[VlmTask, Written]:
    """What workers train on, made ready in Ray Data."""
    tokens = Tokens(
        found.base, config.max_length, config.image_side, tuple(sorted(config.template.items())), config.packing
    )
    place = storage.join(work.data, "conversations")
    files = rows.row_files()
    written = encode(files, place, config.learn, tokens, "train", train.most)
    each = f"{written.tokens / written.count:.0f} tokens each, {written.learned / written.count:.0f} of them learned"
    print(f"      {written.count:,} conversations of {each} on average", flush=True)
    for reason, count in written.rejected.items():
        print(f"      warning: rejected {count:,}: {reason}", flush=True)
    loop = config.loop.counted(written.count)
    task = VlmTask(config.model_dump(mode="json") | {"loop": loop.model_dump(mode="json")}, tokens, place)
    if held_out is not None:
        task.validation = storage.join(work.data, "validation")
        encode(files, task.validation, config.learn, tokens, "val", held_out.most)
    return task, written


def _lacking(train: Survey) -> int:
    """What is no conversation. Where images are missing, `encode` finds it."""
    return train.lacking.total() - train.lacking[NO_IMAGE]


def _counted(train: Survey, written: Written, config: TuneConfig) -> Rows:
    """Conversations, and what is none, of the train split."""
    reasons = {reason: count for reason, count in train.lacking.items() if reason != NO_IMAGE} | written.rejected
    if left := train.usable - train.drawn:
        reasons[f"not drawn (samples={config.samples})"] = left
    rejected = sum(reasons.values())
    return Rows(
        rows_in=written.count + rejected, ok=written.count, rejected=rejected, failed=0,
        reasons={f"rejected: {reason}": count for reason, count in reasons.items()},
    )  # fmt: skip


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """Its loss, for a run's report."""
    return training_block("Tuning of a vision-language model", result)
