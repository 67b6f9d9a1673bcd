"""What an audit draws: lesions, each in several versions. The first is the lesion as its prompt says, the second the
same prompt from another seed, the others the first one's seed with one attribute changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.captioning.answers import Attributes, phrase
from dermray.classification.audit.wording import Attribute
from dermray.columns import batches
from dermray.datasets.renderer import Truth, draw_truth
from dermray.generators.coverage import Reader, unknown_words
from dermray.picked import Least
from dermray.row_files import RowFiles

PLAN = pa.schema(
    [
        ("lesion", pa.string()),
        ("leak_group", pa.string()),  # of the row whose caption the prompt is
        ("prompt_sample_id", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("other_seed", pa.int64()),
    ]
)
SPLIT = "test"  # whose captions are prompts: the generator did not learn from them


@dataclass(frozen=True)
class Version:
    """One picture of a lesion."""

    attribute: str | None  # which was changed, if any
    value: str | None  # to what
    prompt: str
    seed: int


def versions(lesion: dict[str, Any], attributes: Sequence[Attribute]) -> list[Version]:
    """All pictures of a line of the plan."""
    prompt, seed = lesion["prompt"], lesion["seed"]
    changed = [
        Version(attribute.name, value, attribute.changed(prompt, value), seed)
        for attribute in attributes
        for value in attribute.values
        if value != attribute.value_in(prompt)
    ]
    return [Version(None, None, prompt, seed), Version(None, None, prompt, lesion["other_seed"]), *changed]


def require_read(attributes: Sequence[Attribute], readers: list[Reader]) -> None:
    """Refuse attributes that a generator does not read: it would draw the same pictures, and any classifier pass.

    Raises:
        ValueError: it reads no text, or does not know the words of a value.
    """
    if not readers:
        raise ValueError("this generator reads no text, so no attribute of a prompt can change what it draws")
    for attribute in attributes:
        for value in attribute.values:
            words = [unknown_words(readers, text) for text in attribute.phrases(value)]
            if words[0]:  # the usual phrase
                raise ValueError(
                    f"attributes.{attribute.name}: {value}: the generator's text encoder does not know "
                    f"{', '.join(words[0])}, so it would draw the same; leave this value out"
                )


def from_captions(
    rows: RowFiles, attributes: Sequence[Attribute], readers: list[Reader], count: int, seed: int
) -> pa.Table:
    """A plan of `count` lesions from captions of the test split that name every attribute where readers get to it.

    Raises:
        ValueError: there are fewer, and how many name each attribute.
    """
    named, chosen = dict.fromkeys([a.name for a in attributes], 0), Least(count)
    where = (pc.field("status") == "ok") & (pc.field("split") == SPLIT)
    total, columns = 0, ["sample_id", "leak_group", "caption", "status", "split"]
    for batch in batches(rows, columns, where):
        captions = batch["caption"].to_pylist()
        usable = np.ones(len(captions), bool)
        for attribute in attributes:
            says = np.array([_is_read(attribute, caption, readers) for caption in captions], bool)
            named[attribute.name] += int(says.sum())
            usable &= says
        total += len(captions)
        chosen.add(pa.Table.from_batches([batch]).filter(pa.array(usable)))
    picked = chosen.rows() if chosen.chosen else pa.table({"sample_id": pa.array([], pa.string())})
    if len(picked) < count:
        each = ", ".join(f"{number} name one {name} of {_values(attributes, name)}" for name, number in named.items())
        raise ValueError(
            f"lesions={count}: only {len(picked)} captions can be prompts; of {total} captions of the {SPLIT} split "
            f"{each}. Take other attributes or values, fewer lesions, or captions that name them (metadata)"
        )
    seeds = _seeds(seed, count)
    columns = [picked["sample_id"], picked["leak_group"], picked["sample_id"], picked["caption"], *seeds]
    return pa.table(columns, schema=PLAN)


def from_truths(count: int, seed: int) -> pa.Table:
    """A plan of `count` lesions that the renderer draws."""
    names = [str(number) for number in range(count)]
    prompts = [_described(truth_of(name, seed)) for name in names]
    return pa.table([names, names, pa.nulls(count, pa.string()), prompts, *_seeds(seed, count)], schema=PLAN)


def truth_of(lesion: str, seed: int) -> Truth:
    """What the renderer's lesion of this name shows, in whatever picture of it."""
    return draw_truth(np.random.default_rng((seed, int(lesion), 1)))


def with_tone(truth: Truth, prompt: str) -> Truth:
    """The truth on the skin that a prompt names."""
    tone = Attribute.of("skin_tone", ("A", "B", "C")).value_in(prompt)
    assert tone is not None
    return replace(truth, skin_tone=tone)


def _described(truth: Truth) -> str:
    return phrase(Attributes(truth.asymmetry, truth.border_irregular, truth.colours, truth.skin_tone))


def _is_read(attribute: Attribute, caption: str, readers: list[Reader]) -> bool:
    if attribute.value_in(caption) is None:
        return False
    text = attribute.up_to_first(caption)
    return all(reader.lengths([text])[0] <= reader.limit for reader in readers)


def _values(attributes: Sequence[Attribute], name: str) -> str:
    return next(", ".join(attribute.values) for attribute in attributes if attribute.name == name)


def _seeds(seed: int, count: int) -> Iterator[pa.Array]:
    drawn = np.random.default_rng((seed, 0)).integers(1 << 62, size=(count, 2))
    return (pa.array(column) for column in drawn.T)
