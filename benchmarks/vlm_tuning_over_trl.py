"""Steps of `tune-vlm` over those of TRL's SFTTrainer with its vision collator: same nano captioner, LoRA, batch, data.

    pip install trl   # into an environment of its own, or --no-deps: dermray does not need it
    python -m benchmarks.vlm_tuning_over_trl [ROUNDS]

Both train in one process with one thread, in rounds of 40 steps, each beginning a round in turn. Of TRL's steps the
first ten of a round are left out, of ours the first ten of all. TRL logs nothing, keeps no checkpoint and has no data
workers, which are its defaults on this machine or faster; Ray is in neither.
"""

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks.vlm_tuning_over_peft import BATCH, LEARN, RANK, RATE, nano, ours, rows
from dermray.vlm.tuning.base import Base
from dermray.vlm.tuning.conversations import Conversation, conversations_of

STEPS, SKIPPED = 40, 10


def trl(base: Base, table: pa.Table, place: Path) -> float:
    """Seconds of STEPS - SKIPPED steps."""
    import io

    import peft
    from datasets import Dataset
    from PIL import Image
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    talks: list[Conversation] = [talk for row in table.to_pylist() for talk in conversations_of(row, LEARN)]
    data = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": talk.turns[0][0]}],
             "completion": [{"role": "assistant", "content": talk.turns[0][1]}],
             "images": [Image.open(io.BytesIO(talk.image)).convert("RGB")]}
            for talk in talks
        ]
    )  # fmt: skip
    settings: Any = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=r".*language_model.*_proj")
    arguments = SFTConfig(
        output_dir=str(place), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=RATE, use_cpu=True,
        bf16=False, fp16=False, gradient_checkpointing=False, save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, max_length=None,
    )  # fmt: skip
    clock: dict[str, float] = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if state.global_step in (SKIPPED, STEPS):
                clock[str(state.global_step)] = time.perf_counter()

    trainer = SFTTrainer(
        model=base.load(), args=arguments, train_dataset=data, processing_class=base.processor(),
        peft_config=settings, callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    return clock[str(STEPS)] - clock[str(SKIPPED)]


def main(rounds: int) -> None:
    """Print both rates and their ratio."""
    if importlib.util.find_spec("trl") is None:
        print("skipped: TRL is not installed (pip install --no-deps --target DIRECTORY trl, and PYTHONPATH=DIRECTORY)")
        return
    torch.set_num_threads(1)
    table, spent = rows(), {"ours": 0.0, "trl": 0.0}
    with tempfile.TemporaryDirectory() as directory:
        base = nano(Path(directory) / "nano")
        step = ours(base, table, Path(directory) / "shards")
        for _ in range(SKIPPED):
            step()
        for turn in range(rounds):
            for which in ("ours", "trl") if turn % 2 else ("trl", "ours"):
                if which == "trl":
                    spent["trl"] += trl(base, table, Path(directory) / "trl")
                    continue
                started = time.perf_counter()
                for _ in range(STEPS - SKIPPED):
                    step()
                spent["ours"] += time.perf_counter() - started
    samples = rounds * (STEPS - SKIPPED) * BATCH
    print(f"samples/s: ours {samples / spent['ours']:.1f}, TRL's SFTTrainer {samples / spent['trl']:.1f}")
    print(f"ratio ours / TRL, in turns, one process: {spent['trl'] / spent['ours']:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
