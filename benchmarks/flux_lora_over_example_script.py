"""FLUX LoRA from images to a finished adapter: our train stage over diffusers' own example script.

    python -m benchmarks.flux_lora_over_example_script runs/quickstart SCRIPT [PIXELS [STEPS]]

SCRIPT is `examples/dreambooth/train_dreambooth_lora_flux.py` of diffusers' repository, run as it is with the diffusers
installed here. Same nano base, images, batch, rank, layers, steps. Its best settings: latents cached
(`cache_latents`), text encoded once for the one prompt that it knows (ours encodes a caption for each image), no
validation, no tracker, no checkpoints, images loaded in its own process (on two cores that is faster). It runs in one
process of two threads and in two processes, ours with one worker and with two, images encoded ahead. Ours is
`dermray train`; its start and Ray's are part of the time.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lora_race import BATCH, RANK, RATE, Command, ours, race, ratio, train_rows

TOKENS = 77
LAYERS = "attn.to_q,attn.to_k,attn.to_v,attn.to_out.0,attn.add_q_proj,attn.add_k_proj,attn.add_v_proj,attn.to_add_out"


def launched(script: str, base: str, images: str, size: int, processes: int) -> Command:
    """The example script under accelerate, on two CPU cores."""
    launch = ["--cpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes",
              f"{processes}", "--num_cpu_threads_per_process", f"{2 // processes}"]  # fmt: skip
    settings = {
        "pretrained_model_name_or_path": base, "instance_data_dir": images, "instance_prompt": "a skin lesion",
        "resolution": size, "train_batch_size": BATCH // processes, "rank": RANK, "lora_alpha": RANK,
        "lora_layers": LAYERS, "learning_rate": RATE, "lr_scheduler": "constant", "lr_warmup_steps": 0,
        "max_sequence_length": TOKENS, "guidance_scale": 1, "weighting_scheme": "logit_normal",
        "adam_weight_decay": 0.01, "mixed_precision": "no", "dataloader_num_workers": 0, "checkpointing_steps": 10**9,
        "seed": 0,
    }  # fmt: skip
    given = [word for name, value in settings.items() for word in (f"--{name}", f"{value}")]
    start = [sys.executable, "-m", "accelerate.commands.launch", *launch, script, *given, "--cache_latents"]
    return lambda target, steps: [*start, "--output_dir", target, "--max_train_steps", f"{steps}"]


def t5_tokenizer(captions: list[str], size: int) -> Any:
    """Of T5's own kind, which the script insists on: pieces of words, at most `size` of them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5TokenizerFast

    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        captions, trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>")
    )
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    return T5TokenizerFast(vocab=[(piece, score) for piece, score in pieces], extra_ids=0, model_max_length=TOKENS)


def main(quickstart: str, script: str, size: int, steps: int) -> None:
    """Print seconds, of a short training and of a long one, and ratios."""
    from dermray.generators import nano

    rows = train_rows(quickstart)
    with tempfile.TemporaryDirectory() as place:
        base, images = Path(place, "base"), Path(place, "images")
        captions = [row["caption"] for row in rows]
        pipeline = nano.flux(captions, TOKENS)
        pipeline.tokenizer_2 = t5_tokenizer(captions, 400)
        pipeline.text_encoder_2.resize_token_embeddings(len(pipeline.tokenizer_2))
        pipeline.save_pretrained(base)
        images.mkdir()
        for row in rows:
            (images / f"{row['sample_id']}.png").write_bytes(row["image"])
        print(f"{len(rows)} images at {size} px, batch {BATCH}; seconds from images to adapter", flush=True)
        more = ["encode_ahead=true", f"model.max_sequence_length={TOKENS}", "loop.betas=[0.9,0.999]"]
        spent = race(
            {
                "example script, one process of two threads": launched(script, f"{base}", f"{images}", size, 1),
                "example script, two processes": launched(script, f"{base}", f"{images}", size, 2),
                "ours, one worker of two threads": ours("flux_lora_nano", quickstart, f"{base}", size, 1, *more),
                "ours, two workers": ours("flux_lora_nano", quickstart, f"{base}", size, 2, *more),
            },
            steps,
        )
    script1, script2, ours1, ours2 = spent.values()
    ratio("example script", [script1, script2], [ours1, ours2])


if __name__ == "__main__":
    folder, file, *numbers = sys.argv[1:]
    px, most = (*map(int, numbers), *(128, 1500)[len(numbers) :])
    main(folder, file, px, most)
