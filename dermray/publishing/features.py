"""Columns as Hugging Face `datasets` describes them: in a Parquet file's own metadata, and in a card's front matter.

Written without `datasets`: whoever exports does not need it. Tests hold these to what the library makes of the types.
"""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dermray.records import SYNTHETIC

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # the library's feature Image
KEY = b"huggingface"  # of a schema's metadata


def schema(columns: Iterable[str], image: str | None) -> pa.Schema:
    """Of a Parquet file: the image, or the name of its file, and these columns.

    Args:
        image: name of the column of images; without one, `file_name` stands first, as imagefolder reads it.
    """
    first = pa.field(image, IMAGE) if image else pa.field("file_name", pa.string())
    fields = [first, *(SYNTHETIC.field(name) for name in columns)]
    features = {f.name: {"_type": "Image"} if f.type == IMAGE else feature(f.type) for f in fields}
    return pa.schema(fields, {KEY: json.dumps({"info": {"features": features}}).encode()})


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
