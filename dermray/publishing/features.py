"""Columns as Hugging Face `datasets` describes them: in a Parquet file's own metadata, and in a card's front matter.

Written without `datasets`: whoever exports does not need it. Tests hold these to what the library makes of the types.
"""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dermray.publishing.conversations import MESSAGES
from dermray.records import SYNTHETIC

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # the library's feature Image
KEY = b"huggingface"  # of a schema's metadata


def column(name: str) -> pa.Field:
    """One that is exported."""
    return MESSAGES if name == MESSAGES.name else SYNTHETIC.field(name)


def schema(columns: Iterable[str], image: str | None) -> pa.Schema:
    """Of a Parquet file: the image, or the name of its file, and these columns.

    Args:
        image: name of the column of images; without one, `file_name` stands first, as imagefolder reads it.
    """
    first = pa.field(image, IMAGE) if image else pa.field("file_name", pa.string())
    fields = [first, *(column(name) for name in columns)]
    features = {f.name: {"_type": "Image"} if f.type == IMAGE else feature(f.type) for f in fields}
    return pa.schema(fields, {KEY: json.dumps({"info": {"features": features}}).encode()})


def shown(form: str, columns: Iterable[str]) -> list[pa.Field]:
    """Columns of a format of pictures or conversations, as its readers see them."""
    image, fields = pa.field("image", IMAGE), [column(name) for name in columns]
    if form not in ("llava", "sharegpt"):
        return [image, *fields]
    named, text = pa.field("id", pa.string()), pa.string()
    others = [each for each in fields if each.name not in ("sample_id", MESSAGES.name)]
    if form == "sharegpt":
        return [named, MESSAGES, pa.field("images", pa.list_(text)), *others]
    turns = pa.list_(pa.struct([("from", text), ("value", text)]))
    return [named, pa.field("image", text), pa.field("conversations", turns), *others]


def feature(kind: pa.DataType) -> Any:
    """A type in the library's JSON."""
    if pa.types.is_list(kind):
        return {"feature": feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {f.name: feature(f.type) for f in kind}
    return {"dtype": _name(kind), "_type": "Value"}


def named(name: str, kind: pa.DataType) -> dict[str, Any]:
    """A column in the YAML of a card."""
    if kind == IMAGE:
        return {"name": name, "dtype": "image"}
    if pa.types.is_struct(kind):
        return {"name": name, "struct": [named(f.name, f.type) for f in kind]}
    if pa.types.is_list(kind):
        inner = kind.value_type
        fields = pa.types.is_struct(inner)
        return {"name": name, "list": [named(f.name, f.type) for f in inner] if fields else _name(inner)}
    return {"name": name, "dtype": _name(kind)}


def _name(kind: pa.DataType) -> str:
    """pyarrow and the library call some numbers by other names."""
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
