"""Encoded images, without Ray."""

import json

import numpy as np
import pytest

from dermray.datasets.phantom import encode_png
from dermray.training.encode import INDEX, write_index
from tests.training.test_batches import rows_of, shards_of


@pytest.fixture(scope="session")
def two_sizes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight images of 32 px, eight of 64."""
    directory = tmp_path_factory.mktemp("buckets")
    sides = [32, 64] * 8
    images = [encode_png(np.full((side, side, 3), 10 * i, np.uint8)) for i, side in enumerate(sides)]
    for shard in shards_of(rows_of(list(range(16)), images), directory, [32, 64]):
        write_index(str(directory / str(shard["size"])), shard["size"], {shard["file"]: shard["rows"]})
    (directory / INDEX).write_text(json.dumps({32: 8, 64: 8}))
    return str(directory)
