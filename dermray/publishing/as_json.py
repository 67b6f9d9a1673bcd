"""Conversations as one JSON file a split, images beside it: train.json and images/train/00000/<sample_id>.jpg.

LLaVA (haotian-liu/LLaVA, docs/Finetune_Custom_Data.md): a list of {id, image, conversations}, where `image` is a path
below --image_folder, turns are {from: human or gpt, value}, and `<image>` stands in the first.

ShareGPT with images, as LLaMA-Factory reads it (hiyouga/LLaMA-Factory, data/README.md, data/mllm_demo.json): a list of
{messages, images}, turns are {role: user or assistant, content}, with as many `<image>` as there are images, and a
dataset_info.json that says what the columns are called.

Each shard writes its part of the list; in the end the parts are put together as bytes, so that a list of any length
passes through a buffer.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dermray import storage
from dermray.publishing import place
from dermray.publishing.conversations import MESSAGES
from dermray.publishing.files import Written, placed, told
from dermray.publishing.plan import Shard
from dermray.publishing.rows import Row
from dermray.publishing.wrote import Wrote
from dermray.tasks import each_in_ray

IMAGE = "<image>\n"
BETWEEN, BEGIN, END = b",\n", b"[\n", b"\n]\n"
INFO = "dataset_info.json"
BUFFER = 1 << 20
Record = dict[str, Any]


def _llava(row: Row, file: str) -> Record:
    spoken = [{"from": _SPEAKERS[turn["role"]], "value": turn["content"]} for turn in row[MESSAGES.name]]
    spoken[0]["value"] = IMAGE + spoken[0]["value"]
    return {"id": row["sample_id"], "image": file, "conversations": spoken}


def _sharegpt(row: Row, file: str) -> Record:
    first, *others = row[MESSAGES.name]
    told = [first | {"content": IMAGE + first["content"]}, *others]
    return {"id": row["sample_id"], "messages": told, "images": [file]}


_SPEAKERS = {"user": "human", "assistant": "gpt"}
_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_COLUMNS = {"messages": "messages", "images": "images"}


@dataclass(frozen=True)
class JsonList:
    """A format of this kind."""

    record: Callable[[Row, str], Record]  # of a row and its image's file
    described: bool  # whether dataset_info.json lies beside

    MOST_ROWS = 10_000  # files in a folder
    PATTERN = "{split}.json"

    def write(self, output: str, shard: Shard, rows: Iterator[Row], columns: list[str], threads: int) -> Wrote:
        """The shard's images, and then its part of the list."""
        wrote, folder, more = Wrote(), f"images/{shard.split_name}/{shard.number:05d}", _others(columns)
        with placed(output, _part(shard)) as local, local.open("wb") as part, ThreadPoolExecutor(threads) as pool:
            between = b""
            while some := list(islice(rows, threads)):
                files = [f"{folder}/{row['sample_id']}.{wrote.image(row['image'], shard.split_name)}" for row in some]
                places = [storage.join(output, file) for file in files]
                list(pool.map(storage.write_bytes, places, [row["image"] for row in some]))
                for row, file in zip(some, files, strict=True):
                    wrote.turns[shard.split_name] += len(row[MESSAGES.name]) // 2
                    said = self.record(row, file) | {name: _finite(row[name]) for name in more}
                    part.write(between + json.dumps(said, ensure_ascii=False).encode())
                    between = BETWEEN
        return wrote

    def joined(self, output: str, shards: list[Shard]) -> list[Written]:
        """The lists of all splits out of their parts, each in a Ray task."""
        splits = list(dict.fromkeys(shard.split_name for shard in shards))
        parts = {split: [_part(shard) for shard in shards if shard.split_name == split] for split in splits}
        files = dict(each_in_ray(_joined, splits, output, parts))
        info = [_written(output, INFO, _info(splits))] if self.described else []
        return [files[split] for split in splits] + info


LLAVA, SHAREGPT = JsonList(_llava, False), JsonList(_sharegpt, True)


def _part(shard: Shard) -> str:
    """Among the notes of what is done, which go when all is."""
    return f"{place.DONE}/parts/{shard.split}-{shard.number:06d}.json"


def _others(columns: list[str]) -> list[str]:
    return [name for name in columns if name not in ("sample_id", MESSAGES.name)]


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if value != value else value


def _joined(split: str, output: str, parts: dict[str, list[str]]) -> Written:
    file, between = f"{split}.json", b""
    with placed(output, file) as local:
        with local.open("wb") as whole:
            whole.write(BEGIN)
            for part in parts[split]:
                whole.write(between)
                system, path = storage.filesystem(storage.join(output, part))
                with system.open_input_stream(path) as source:
                    shutil.copyfileobj(source, whole, BUFFER)
                between = BETWEEN
            whole.write(END)
        return told(file, local)


def _info(splits: list[str]) -> bytes:
    """LLaMA-Factory's description: a data set is called as its split."""
    said = {
        split: {"file_name": f"{split}.json", "formatting": "sharegpt", "columns": _COLUMNS, "tags": _TAGS}
        for split in splits
    }
    return json.dumps(said, indent=1).encode()


def _written(output: str, name: str, data: bytes) -> Written:
    storage.write_bytes(storage.join(output, name), data)
    return Written(name, len(data), hashlib.sha256(data).hexdigest())
