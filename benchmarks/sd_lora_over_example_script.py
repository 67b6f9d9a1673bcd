"""SD LoRA from images to a finished adapter: our train stage over diffusers' own example script.

    python -m benchmarks.sd_lora_over_example_script runs/quickstart [PIXELS [STEPS]]

The script is `train_dreambooth_lora.py` of diffusers 0.27.2, which the package autotrain-advanced 0.7.129 carries: it
is downloaded, run as it is with the diffusers installed here, and not kept. Same nano base, images, batch, rank, steps.
Its best settings: text encoded once (`pre_compute_text_embeddings`, for the one prompt that it knows; ours encodes a
caption for each image), no validation, no tracker, no checkpoints, no process for loading images (on two cores that
was slower); it has no cache for latents. It runs in one process of two threads and in two processes, ours with one
worker and with two, images encoded ahead. Ours is `dermray train`; its start and Ray's are part of the time.
"""

import importlib.util
import logging
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.lora_race import BATCH, RANK, RATE, Command, ours, race, ratio, train_rows

PACKAGE, SCRIPT = "autotrain-advanced==0.7.129", "autotrain/trainers/dreambooth/train.py"
MODULE = "benchmarks.sd_lora_over_example_script"


def script_arguments(base: str, images: str, target: str, processes: int, size: int, steps: int) -> dict[str, Any]:
    """What the script reads from its command line."""
    off = (
        "allow_tf32 center_crop checkpoints_total_limit class_data_dir class_labels_conditioning class_prompt "
        "hub_token enable_xformers_memory_efficient_attention gradient_checkpointing pretrained_vae_model_name_or_path "
        "prior_generation_precision report_to resume_from_checkpoint revision scale_lr tokenizer_name use_8bit_adam "
        "text_encoder_use_attention_mask tokenizer_max_length train_text_encoder validation_images validation_prompt "
        "variant with_prior_preservation"
    )
    return dict.fromkeys(off.split()) | {
        "pretrained_model_name_or_path": base, "instance_data_dir": images, "output_dir": target, "resolution": size,
        "instance_prompt": "a photo of a skin lesion", "pre_compute_text_embeddings": True, "rank": RANK, "seed": 0,
        "train_batch_size": BATCH // processes, "dataloader_num_workers": 0, "max_train_steps": steps,
        "learning_rate": RATE, "lr_scheduler": "constant", "lr_warmup_steps": 0, "lr_num_cycles": 1, "lr_power": 1.0,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_weight_decay": 0.01, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "gradient_accumulation_steps": 1, "mixed_precision": "no", "num_train_epochs": 1, "checkpointing_steps": 10**9,
        "validation_epochs": 10**9, "num_validation_images": 0, "num_class_images": 0, "prior_loss_weight": 1.0,
        "sample_batch_size": 1, "logging_dir": "logs",
    }  # fmt: skip


def run_script(file: str, base: str, images: str, target: str, processes: str, size: str, steps: str) -> None:
    """One process of the example script, as `accelerate launch` starts it."""
    logger = logging.getLogger("script")
    sys.modules["autotrain"] = types.SimpleNamespace(logger=logger)  # type: ignore[assignment]  # all it uses of it
    found = importlib.util.spec_from_file_location("script", file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    settings = script_arguments(base, images, target, int(processes), int(size), int(steps))
    module.main(types.SimpleNamespace(**settings))


def launched(script: str, base: str, images: str, size: int, processes: int) -> Command:
    """The example script under accelerate, on two CPU cores."""
    launch = ["--cpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes",
              f"{processes}", "--num_cpu_threads_per_process", f"{2 // processes}"]  # fmt: skip
    start = [sys.executable, "-m", "accelerate.commands.launch", *launch, "--module", MODULE, script]
    return lambda target, steps: [*start, base, images, target, f"{processes}", f"{size}", f"{steps}"]


def main(quickstart: str, size: int, steps: int) -> None:
    """Print seconds, of a short training and of a long one, and ratios."""
    from dermray.generators import nano  # not at the top: the script's processes import this file

    rows = train_rows(quickstart)
    with tempfile.TemporaryDirectory() as place:
        base, images = Path(place, "base"), Path(place, "images")
        nano.stable_diffusion([row["caption"] for row in rows]).save_pretrained(base)
        images.mkdir()
        for row in rows:
            (images / row["sample_id"]).write_bytes(row["image"])
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", place, PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            script = wheel.extract(SCRIPT, place)
        print(f"{len(rows)} images at {size} px, batch {BATCH}; seconds from images to adapter", flush=True)
        more = ["model.train_text_encoder=false", "encode_ahead=true"]
        spent = race(
            {
                "example script, one process of two threads": launched(script, f"{base}", f"{images}", size, 1),
                "example script, two processes": launched(script, f"{base}", f"{images}", size, 2),
                "ours, one worker of two threads": ours(
                    "stable_diffusion_lora_nano", quickstart, f"{base}", size, 1, *more
                ),
                "ours, two workers": ours("stable_diffusion_lora_nano", quickstart, f"{base}", size, 2, *more),
            },
            steps,
        )
    script1, script2, ours1, ours2 = spent.values()
    ratio("example script", [script1, script2], [ours1, ours2])


if __name__ == "__main__":
    if sys.argv[1].endswith(".py"):
        run_script(*sys.argv[1:])
    else:
        folder, *numbers = sys.argv[1:]
        px, most = (*map(int, numbers), *(128, 1500)[len(numbers) :])
        main(folder, px, most)
