"""Shards: every row in one, none larger than asked for, in the files' order."""

from hypothesis import given
from hypothesis import strategies as st

from dermray.publishing.plan import planned
from dermray.publishing.survey import FileRows

COUNTS = st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(1, 40))
FILES = st.lists(st.tuples(st.floats(1, 500), COUNTS), max_size=12)


@given(FILES, st.integers(1, 3000), st.integers(1, 50))
def test_every_row_is_in_one_shard(listed: list[tuple[float, dict[str, int]]], most_bytes: int, most_rows: int) -> None:
    files = [FileRows(f"f{number:02}", size, counts) for number, (size, counts) in enumerate(listed)]
    sizes = {file.file: file.bytes_per_image for file in files}
    shards = planned(files, most_bytes, most_rows)
    for split in ("train", "val", "test"):
        own = [shard for shard in shards if shard.split == split]
        assert [shard.number for shard in own] == list(range(len(own))) and {shard.of for shard in own} <= {len(own)}
        dealt = [(file, place) for shard in own for file, first, end in shard.parts for place in range(first, end)]
        assert dealt == [(file.file, place) for file in files for place in range(file.splits.get(split, 0))]
        for shard in own:
            assert 1 <= shard.rows <= most_rows
            size = sum(sizes[file] * (end - first) for file, first, end in shard.parts)
            assert size <= most_bytes * (1 + 1e-9) or shard.rows == 1, "an image larger than a shard has its own"


def test_shards_are_filled() -> None:
    files = [FileRows("a", 10, {"train": 25, "test": 1}), FileRows("b", 20, {"train": 10})]
    train, more, test = planned(files, 300, 1000)
    assert train.parts == (("a", 0, 25), ("b", 0, 2)) and more.parts == (("b", 2, 10),) and test.parts == (("a", 0, 1),)
    assert [shard.split_name for shard in planned([FileRows("a", 1, {"val": 1})], 1, 1)] == ["validation"]
