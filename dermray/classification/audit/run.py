"""`dermray audit-classifier`: a classifier in; how far its score shifts where one attribute of a lesion changes out."""

from typing import Annotated, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from dermray import manifest, node_cache, storage
from dermray.captioning.resume import require_each_once, resumable
from dermray.classification import predict, saved
from dermray.classification.audit import lesions, page, painters, pictures, shifts
from dermray.classification.audit.wording import Attribute
from dermray.columns import batches, tally
from dermray.config import Config, ConfigError, HowFast
from dermray.counters import count_rows
from dermray.exactly_once import Ids
from dermray.manifest import Result, Rows
from dermray.progress import rows_written, watched
from dermray.result_fields import ResultOf
from dermray.training.run import load_generator, load_readers

RENDERER = "renderer"
MEASURED = ["leak_group", "attribute", "value", "score", "change", "status"]


class AuditClassifierConfig(Config):
    """Which classifier, what draws for it, and what is changed."""

    output: str
    classifier: Annotated[str, ResultOf("classify", "sweep")] = Field(
        description="result of the classify or sweep stage"
    )
    generator: Annotated[str, ResultOf("train")] = Field(
        description="result of the train stage; or renderer, which draws phantoms"
    )
    rows: Annotated[str, ResultOf("caption")] | None = Field(
        None, description="result of the caption stage that the generator was trained on"
    )
    attributes: dict[str, tuple[str, ...]] = Field(
        {"skin_tone": ("A", "B", "C")}, min_length=1, description="skin_tone, sex, site, and the values of each"
    )
    of_class: str = Field("malignant", description="of the classifier, whose probability is the score")
    lesions: int = Field(100, ge=2)
    tolerance: float = Field(0.05, gt=0, lt=1, description="a mean shift of the score below it counts as none")
    guidance_scale: float = Field(2.0, ge=0)
    sampling_steps: int = Field(20, ge=1, le=1000)
    shown: int = Field(12, ge=1, description="lesions on the page")
    seed: int = Field(0, ge=0)
    actors: HowFast[int] = Field(2, ge=1)
    cpus_per_actor: HowFast[float] = Field(1, gt=0)
    gpus_per_actor: HowFast[float] = Field(0, ge=0)
    batch_size: HowFast[int] = Field(10, ge=1, description="lesions, each of several pictures, per block")

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        self.changes()
        if self.generator != RENDERER and self.rows is None:
            raise ConfigError(f"rows: missing; give the captions that generator={self.generator} was trained on")
        if self.generator == RENDERER and (others := sorted(self.attributes.keys() - {"skin_tone"})):
            raise ConfigError(f"attributes.{others[0]}: the renderer changes skin_tone alone; leave it out")
        if self.generator == RENDERER and self.rows is not None:
            raise ConfigError(f"rows={self.rows}: the renderer reads no captions; leave them out")
        return self

    def changes(self) -> list[Attribute]:
        """What is changed.

        Raises:
            ConfigError: an attribute or values that nobody can change.
        """
        try:
            return [Attribute.of(name, values) for name, values in self.attributes.items()]
        except ValueError as error:
            raise ConfigError(str(error)) from None


def run(config: AuditClassifierConfig) -> Result:
    """Draw, score, compare.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a generator of other rows or one that does not read an attribute,
            a classifier without the class, captions that do not name the attributes.
    """
    inputs = _inputs(config)
    classifier, attributes = inputs["classifier"], config.changes()
    number = class_number(classifier, config)
    with manifest.work("audit-classifier", config.output, config, inputs) as work:
        if work.finished:
            return work.finished
        plan = _plan(config, attributes, inputs)
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        planned, target, checkpoint = (storage.join(work.data, name) for name in ("plan", "rows", "checkpoint"))
        _write(plan, storage.join(planned, "plan.parquet"))
        with watched(rows_written(target, config.lesions, ("_Draw",))):
            _draw(planned, target, checkpoint, _Draw.arguments(config, inputs, number), config)
        ids = Ids(planned, ("lesion",)), Ids(target, ("lesion",))
        ray.get(ray.remote(require_each_once).remote(*ids, [checkpoint]))
        usable = [row for batch in batches(target, MEASURED) for row in batch.to_pylist() if row["status"] == "ok"]
        found = shifts.analyse(pictures.scored(usable, attributes), attributes, config.tolerance, config.seed)
        page.write(work.data, target, found, attributes, config.of_class, config.shown)
        return work.commit(
            Rows.count(tally(target, [])),
            config.lesions,
            temporary=["checkpoint/"],
            cpus=config.actors * config.cpus_per_actor,
            gpus=config.actors * config.gpus_per_actor,
            summary="\n".join(told["sentence"] for told in found["attributes"].values()),
            page=page.NAME,
            **found,
        )


def _inputs(config: AuditClassifierConfig) -> dict[str, Result]:
    inputs = {"classifier": predict.result_of(config.classifier, "classifier", predict.CLASSIFIERS)}
    if config.rows is None:
        return inputs
    generator, rows = manifest.read(config.generator, "train"), manifest.read(config.rows, "caption")
    if (trained_on := generator.manifest.inputs["rows"]) != rows.manifest.key:
        raise ValueError(
            f"rows={config.rows}: the generator was trained on other rows (key {trained_on}, these are "
            f"{rows.manifest.key}), and may have seen these lesions or not know their words; give its own"
        )
    return inputs | {"generator": generator, "rows": rows}


def class_number(classifier: Result, config: AuditClassifierConfig) -> int:
    """Of the class whose probability is the score.

    Raises:
        ValueError: the classifier tells other things apart.
    """
    target = saved.target_of(storage.read_bytes(storage.join(classifier.data, "model", saved.CONFIG)))
    told = f"the classifier tells {target.column} apart ({', '.join(target.classes)})"
    if target.column in config.attributes:
        raise ValueError(f"attributes.{target.column}: {told}, so its score should shift; leave this attribute out")
    if config.of_class not in target.classes:
        raise ValueError(f"of_class={config.of_class}: {told}; give one of these classes")
    return target.classes.index(config.of_class)


def _plan(config: AuditClassifierConfig, attributes: list[Attribute], inputs: dict[str, Result]) -> pa.Table:
    if config.generator == RENDERER:
        return lesions.from_truths(config.lesions, config.seed)
    readers = load_readers(inputs["generator"])
    lesions.require_read(attributes, readers)
    return lesions.from_captions(inputs["rows"].row_files(), attributes, readers, config.lesions, config.seed)


def _write(table: pa.Table, file: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    storage.write_bytes(file, memoryview(sink.getvalue()))


def _draw(plan: str, target: str, checkpoint: str, arguments: list[Any], config: AuditClassifierConfig) -> None:
    import ray.data

    system, path = storage.filesystem(plan)
    to_system, to_path = storage.filesystem(target)
    with resumable("lesion", checkpoint):
        planned = ray.data.read_parquet(path, filesystem=system)
        drawn = planned.repartition(target_num_rows_per_block=config.batch_size).map_batches(
            _Draw,
            fn_constructor_args=arguments,
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.actors),
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        )
        drawn.write_parquet(to_path, filesystem=to_system, mode="append")


class _Draw:
    """An actor that holds what draws and what scores."""

    def __init__(self, config: AuditClassifierConfig, generator: Result | None, model: str, number: int) -> None:
        self.attributes, self.number = config.changes(), number
        self.classifier = saved.load(node_cache.local_copy(model))
        device = "cuda" if config.gpus_per_actor else "cpu"
        self.classifier.model.to(device)
        if generator is None:
            self.painter = painters.by_renderer(config.seed, self.classifier.image_size)
        else:
            drawing = load_generator(generator).to(device)
            self.painter = painters.by_generator(drawing, config.guidance_scale, config.sampling_steps)

    @staticmethod
    def arguments(config: AuditClassifierConfig, inputs: dict[str, Result], number: int) -> list[Any]:
        """Of a new one."""
        return [config, inputs.get("generator"), storage.join(inputs["classifier"].data, "model"), number]

    def __call__(self, plan: pa.Table) -> pa.Table:
        """Rows of a block's lesions."""
        made = pictures.drawn(plan.to_pylist(), self.attributes, self.painter, self.classifier, self.number)
        count_rows("audit-classifier", made)
        return made
