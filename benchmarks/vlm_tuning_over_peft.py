"""Steps of `tune-vlm` over those of a bare transformers + peft loop: same nano captioner, batch, data, one thread.

    python -m benchmarks.vlm_tuning_over_peft [TURNS]

The bare loop has all conversations in memory, prepares a batch by the model's processor, and does forward, backward,
clipping and AdamW: no order, no EMA, no checkpoint, no log. Ours takes batches from shards, in its order, ahead of the
step. Ten steps of each in turn in one process, so that a machine whose speed moves changes both; Ray is in neither.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from PIL import Image

from dermray.config import validate
from dermray.datasets.phantom import encode_png
from dermray.datasets.renderer import draw_phantoms
from dermray.records import CAPTIONED
from dermray.train_loop import State
from dermray.vlm.nano import NanoConfig, build_model, build_processor, save
from dermray.vlm.tuning.base import Base
from dermray.vlm.tuning.conversations import AnswersConfig, Conversation, conversations_of
from dermray.vlm.tuning.encode import Tokens, conversed, finish, write_shard
from dermray.vlm.tuning.settings import TuneConfig
from dermray.vlm.tuning.task import VlmTask

ROWS, BATCH, RATE, STEPS, RANK = 256, 16, 1e-3, 10, 16
LEARN = AnswersConfig(answers="attributes")


def rows() -> pa.Table:
    """Phantoms with their truth."""
    drawn = draw_phantoms(3, ROWS, 64)
    made = [
        {"image": encode_png(rendered.image), "sample_id": f"{number:064x}", "status": "ok", "split": "train",
         "true_asymmetry": truth.asymmetry, "true_border_irregular": truth.border_irregular,
         "true_colours": list(truth.colours), "skin_tone": truth.skin_tone}
        for number, (truth, rendered) in enumerate(drawn)
    ]  # fmt: skip
    return pa.Table.from_pylist(made, CAPTIONED)


def nano(directory: Path) -> Base:
    """The nano captioner, untrained."""
    torch.manual_seed(0)
    processor = build_processor(NanoConfig())
    save(build_model(NanoConfig(), processor.tokenizer), processor, directory)
    return Base(str(directory), str(directory), None)


def ours(base: Base, table: pa.Table, place: Path) -> Callable[[], None]:
    """A step of `tune-vlm`, as a worker makes it."""
    loop = {"steps": 100_000, "batch_size": BATCH, "learning_rate": RATE, "ema_decay": 0.0}
    given = {"output": "o", "rows": "r", "base": base.place, "licence": "own", "lora": {"rank": RANK, "alpha": RANK},
             "image_side": 64, "loop": loop, "learn": LEARN.model_dump()}  # fmt: skip
    config, tokens = validate(TuneConfig, given), Tokens(base, 256, 64)
    place.mkdir()
    lines = write_shard(conversed(table, LEARN, tokens, "train", None), str(place)).to_pylist()
    finish(str(place), lines, 64, 2 * ROWS)
    task = VlmTask(config.model_dump(mode="json"), tokens, str(place))
    state = State(task.build().train(), config.loop)

    def step() -> None:
        state.advance(task, state.module, 0, 1)

    return step


def bare(base: Base, table: pa.Table) -> Callable[[], None]:
    """A step of a loop as one would write it."""
    import peft

    processor: Any = base.processor()
    talks: list[Conversation] = [talk for row in table.to_pylist() for talk in conversations_of(row, LEARN)]
    images = [Image.open(io.BytesIO(talk.image)).convert("RGB") for talk in talks]
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": talks[0].turns[0][0]}]}]
    prompt = processor.apply_chat_template(asked)
    texts = [prompt + talk.turns[0][1] + processor.tokenizer.eos_token for talk in talks]
    length = processor(text=[prompt], images=[images[0]], return_tensors="pt")["input_ids"].shape[1]
    settings = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=r".*language_model.*_proj")
    model = peft.get_peft_model(base.load(), settings).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, fused=True)

    def step() -> None:
        index = torch.randint(len(talks), (BATCH,)).tolist()
        batch = processor(
            text=[texts[i] for i in index], images=[images[i] for i in index], return_tensors="pt", padding=True
        )
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, :length] = -100
        model(**batch, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def in_turns(first: Callable[[], None], second: Callable[[], None], turns: int) -> tuple[float, float]:
    """Seconds of each; the first turn warms up, and who begins a turn changes."""
    spent = [0.0, 0.0]
    for turn in range(turns + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            for _ in range(STEPS):
                (first, second)[which]()
            spent[which] += (time.perf_counter() - started) if turn else 0.0
    return spent[0], spent[1]


def main(turns: int) -> None:
    """Print both rates and their ratio."""
    torch.set_num_threads(1)
    table = rows()
    with tempfile.TemporaryDirectory() as directory:
        base = nano(Path(directory) / "nano")
        mine, others = in_turns(ours(base, table, Path(directory) / "shards"), bare(base, table), turns)
    samples = turns * STEPS * BATCH
    print(f"samples/s: ours {samples / mine:.1f}, bare transformers + peft loop {samples / others:.1f}")
    print(f"ratio ours / bare loop, in turns, one process: {others / mine:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
