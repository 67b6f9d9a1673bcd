"""How much of the training captions a generator reads, counted in Ray Data over the column of captions alone."""

from typing import Any

import pyarrow as pa

from dermray.generators.base import family
from dermray.generators.coverage import Coverage, Reader, TextCoverage, coverage, losses, together, unreadable
from dermray.row_files import RowFiles, row_files
from dermray.training.batches import captions_for_words
from dermray.training.several_captions import apart


def training_text(
    rows: str | RowFiles, name: str, model: dict[str, Any], encoded: str | None, answers_apart: bool = False
) -> Coverage:
    """What the generator reads of the captioned rows of the train split; what is lost is said.

    Args:
        name, model: family and its config. encoded: target of training.encode, out of which a new tokenizer's words
            come; None where the base brings its own. answers_apart: further answers of a row are captions of their own.

    Raises:
        ValueError: most captions are mostly words that a text encoder does not know.
    """
    import ray
    from ray.data.expressions import col

    readers = ray.get(ray.remote(_readers).remote(name, model, encoded))
    if not readers:
        return {}
    columns = ["caption", "split", "status", *(["sample_id", "pairs"] if answers_apart else [])]
    captions = row_files(rows).usable_in_ray(columns).filter(expr=col("split") == "train")
    counted = captions.map_batches(
        _count, fn_kwargs={"readers": readers}, batch_format="pyarrow", batch_size=None
    ).take_all()  # a line for each block and reader
    covered = together({line["reader"]: TextCoverage.model_validate_json(line["coverage"])} for line in counted)
    _judge(covered, f"family={name}: in the training captions")
    if prior := model.get("prior_prompt"):
        _judge(coverage(readers, [prior]), f"prior_prompt={prior!r}:")
    return covered


def _judge(covered: Coverage, where: str) -> None:
    if reason := unreadable(covered):
        raise ValueError(f"{where} {reason}. {REMEDY}")
    for loss in losses(covered):
        print(f"      warning: {where} {loss}", flush=True)
    for reader, part in covered.items():
        if part.cut_example:
            print(f"      the longest for {reader}, {part.longest} {part.unit}: {part.cut_example}", flush=True)


REMEDY = (
    "Translate the captions into the language of the encoder, or train a family that makes its word list from the "
    "captions, in any language (pixel_dermdit, whose size is model.words)"
)


def _readers(name: str, model: dict[str, Any], encoded: str | None) -> list[Reader]:
    cls = family(name)
    config = cls.Config(**model)
    return cls.readers(config, captions_for_words(cls, config, encoded) if encoded else [])


def _count(captions: pa.Table, readers: list[Reader]) -> pa.Table:
    """Coverage of a block, as JSON."""
    texts = captions["caption"].to_pylist()
    if "pairs" in captions.column_names:
        texts += apart(captions)["caption"].to_pylist()
    covered = coverage(readers, texts)
    lines = [{"reader": name, "coverage": part.model_dump_json()} for name, part in covered.items()]
    return pa.Table.from_pylist(lines, pa.schema([("reader", "string"), ("coverage", "string")]))
