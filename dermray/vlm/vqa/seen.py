"""Whether a captioner was tuned on images that it shall be judged by."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.manifest import Result


def learned_of(tuned: Result, asked: pa.Array) -> int:
    """How many of the asked images' ids are among the conversations that a tuning learned from.

    A tuning of rows with another split, as of a second ingest of the same images, finds held-out images here. What its
    base or the adapter that it began with has learned from is not looked at. Of the shards the ids alone are read.
    """
    place = storage.join(tuned.data, "conversations")
    index = storage.join(place, "index.json")
    if tuned.manifest.stage != "tune-vlm" or not storage.exists(index):
        return 0
    found = set[str]()
    for shard in json.loads(storage.read_bytes(index))["shards"]:
        files, path = storage.filesystem(storage.join(place, shard))
        with files.open_input_file(path) as file:
            first = pa.ipc.open_file(file).schema.get_field_index("sample_id")
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[first]))
            for number in range(reader.num_record_batches):
                # <sample_id>/<number of the conversation>
                ids = pc.list_element(pc.split_pattern(reader.get_batch(number)["sample_id"], "/"), 0)
                found.update(ids.filter(pc.is_in(ids, value_set=asked)).to_pylist())
    return len(found)


def require_unseen(name: str, captioner: str, tuned: Result, asked: pa.Array) -> None:
    """Refuse to judge a captioner by images of a held-out split that it was tuned on.

    Raises:
        ValueError: it was.
    """
    if seen := learned_of(tuned, asked):
        raise ValueError(
            f"captioners: {name} ({captioner}) was tuned on {seen} of the {len(asked)} images that are asked about, "
            "because its rows were split otherwise; give the rows that it was tuned on, or, to ask about what it "
            "learned from too, split=all"
        )
