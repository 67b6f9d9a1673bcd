"""Types as the library `datasets` makes them of the same Arrow types."""

import datasets
import pyarrow as pa
import pytest

from dermray.publishing.features import IMAGE, named, schema
from dermray.publishing.meanings import MEANINGS
from dermray.publishing.settings import COLUMNS
from dermray.records import SYNTHETIC

ALL = [name for name in COLUMNS if name != "image"]


def test_parquet_metadata_is_what_the_library_reads() -> None:
    read = datasets.Features.from_arrow_schema(schema(ALL, "image"))
    plain = datasets.Features.from_arrow_schema(pa.schema([SYNTHETIC.field(name) for name in ALL]))
    assert read == {"image": datasets.Image(), **plain}
    assert schema(ALL, "image").field("image").type == IMAGE == datasets.Image().pa_type
    assert datasets.Features.from_arrow_schema(schema(ALL, None)) == {"file_name": datasets.Value("string"), **plain}


def test_the_cards_features_are_what_the_library_reads() -> None:
    fields = [pa.field("image", IMAGE), *(SYNTHETIC.field(name) for name in ALL)]
    struct = pa.struct([SYNTHETIC.field(name) for name in ALL])
    said = [*(named(field.name, field.type) for field in fields), named("json", struct)]
    read = datasets.Features._from_yaml_list(said)
    expected = datasets.Features.from_arrow_schema(schema(ALL, "image"))
    assert read == {**expected, "json": {name: expected[name] for name in ALL}}


def test_every_column_is_told_in_words() -> None:
    assert set(MEANINGS) == set(ALL)


@pytest.mark.parametrize("name", ["status", "split", "cell_issues", "reason"])
def test_what_never_leaves(name: str) -> None:
    assert name in SYNTHETIC.names and name not in COLUMNS
