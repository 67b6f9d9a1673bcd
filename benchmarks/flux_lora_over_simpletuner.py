"""FLUX LoRA from images to a finished adapter: our train stage over SimpleTuner.

    python -m benchmarks.flux_lora_over_simpletuner runs/quickstart ENVIRONMENT [PIXELS [STEPS]]

SimpleTuner 3.1.6 is installed into ENVIRONMENT, a virtual environment of its own that is made if it is not there and
sees this one's CPU torch. Two changes let it start without a GPU: its audio family, whose torchaudio exists for CUDA
only, is left out, and memory is not pinned. Same base, images, captions, batch, rank and steps. FLUX's architecture is
in miniature, with tokenizers as SimpleTuner loads them. It has 512 tokens of T5 and no choice, so ours has too.

Both cache latents and text embeddings. SimpleTuner's settings: fp32 as ours, all attention layers, torch's AdamW,
no validation, tracker or checkpoints; one process of two threads, and two of one. Ours: one worker and two. The start
of all processes is part of the time.
"""

import json
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from benchmarks.lora_race import BATCH, RANK, RATE, Command, ours, race, ratio, train_rows

PEER = ["simpletuner==3.1.6", "diffusers==0.36.0", "transformers==4.57.3", "huggingface_hub==0.36.0", "peft==0.18.0",
        "tokenizers==0.22.1", "accelerate==1.12.0", "torchao==0.14.1"]  # fmt: skip
TOKENS = 512


def install(environment: Path) -> None:
    """SimpleTuner with the libraries of its time, beside our torch."""
    if (environment / "ready").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "zz_torch.pth").write_text(sysconfig.get_path("purelib"))
    python, pip = environment / "bin" / "python", ["-m", "pip", "install", "--quiet"]
    subprocess.run([python, *pip, PEER[0]], check=True)
    subprocess.run([python, *pip, "--no-deps", *PEER], check=True)
    subprocess.run([python, "cluster/repair_torchvision.py"], check=True)
    shutil.rmtree(packages / "simpletuner" / "helpers" / "models" / "ace_step")
    (packages / "torchaudio").mkdir()
    (packages / "torchaudio" / "__init__.py").touch()  # is imported, and nothing here hears
    (environment / "ready").touch()


def write_base(captions: list[str], directory: Path) -> None:
    """FLUX in miniature, with the kinds of tokenizers that FLUX.1 has."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import T5EncoderModel

    from dermray.generators import nano

    ends = ["<|startoftext|>", "<|endoftext|>"]
    clip = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    clip.normalizer, clip.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made = trainers.BpeTrainer(vocab_size=400, special_tokens=ends, end_of_word_suffix="</w>", show_progress=False)
    clip.train_from_iterator(captions, made)
    t5 = Tokenizer(models.Unigram())
    t5.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    t5.train_from_iterator(
        captions,
        trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    t5.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    pipeline = nano.flux(captions, TOKENS)
    encoder = nano.clip(clip.get_vocab_size())
    encoder.config.bos_token_id, encoder.config.eos_token_id = 0, 1
    config = pipeline.text_encoder_2.config
    config.vocab_size = t5.get_vocab_size() + 128  # SimpleTuner's T5 tokenizer adds words of its own
    pipeline.register_modules(text_encoder=encoder, text_encoder_2=T5EncoderModel(config))
    pipeline.save_pretrained(directory)
    shutil.rmtree(directory / "tokenizer")
    (directory / "tokenizer").mkdir()
    clip.model.save(str(directory / "tokenizer"))
    merges = directory / "tokenizer" / "merges.txt"
    merges.write_text("#version: 0.2\n" + merges.read_text().removeprefix("#version: 0.2\n"))
    t5.save(str(directory / "tokenizer_2" / "tokenizer.json"))
    words = dict(zip(["bos_token", "eos_token", "pad_token", "unk_token"], [*ends, ends[1], ends[1]], strict=True))
    t5_words = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    index = json.loads((directory / "model_index.json").read_text())
    for name, kind, about in (
        ("tokenizer", "CLIPTokenizer", words | {"model_max_length": 77}),
        ("tokenizer_2", "T5TokenizerFast", t5_words | {"model_max_length": TOKENS}),
    ):
        (directory / name / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind} | about))
        index[name] = ["transformers", kind]
    (directory / "model_index.json").write_text(json.dumps(index))


def simpletuner(environment: Path, place: Path, size: int, processes: int) -> Command:
    """SimpleTuner under accelerate, on two CPU cores."""
    launch = ["--cpu", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no",
              f"--num_processes={processes}", f"--num_cpu_threads_per_process={2 // processes}"]  # fmt: skip

    def command(target: str, steps: int) -> list[str]:
        configured = Path(target, "config")
        configured.mkdir()
        (configured / "data.json").write_text(json.dumps(_data(place / "images", target, size)))
        settings = _settings(place / "base", target, size, processes, steps)
        (configured / "config.json").write_text(json.dumps(settings))
        start = [f"{environment}/bin/python", "-m", "accelerate.commands.launch", *launch]
        return [*start, "--module", "benchmarks.flux_lora_over_simpletuner", target]

    return command


def _settings(base: Path, target: str, size: int, processes: int, steps: int) -> dict[str, object]:
    return {
        "data_backend_config": f"{target}/config/data.json", "output_dir": f"{target}/output", "model_family": "flux",
        "model_flavour": "dev", "pretrained_model_name_or_path": str(base), "model_type": "lora", "seed": 0,
        "lora_type": "standard", "lora_rank": RANK, "lora_alpha": RANK, "flux_lora_target": "all",
        "base_model_precision": "no_change", "mixed_precision": "no", "gradient_checkpointing": False,
        "optimizer": "torch-adamw", "learning_rate": RATE, "lr_scheduler": "constant", "lr_warmup_steps": 0,
        "max_train_steps": steps, "num_train_epochs": 0, "train_batch_size": BATCH // processes, "vae_batch_size": 16,
        "torch_num_threads": 2 // processes, "resolution": size, "resolution_type": "pixel",
        "caption_dropout_probability": 0.1, "checkpoint_step_interval": 10**6, "validation_disable": True,
        "validation_steps": 10**6, "report_to": "none", "disable_benchmark": True, "push_to_hub": False,
    }  # fmt: skip


def _data(images: Path, target: str, size: int) -> list[dict[str, object]]:
    lesions = {
        "id": "lesions", "type": "local", "instance_data_dir": str(images), "crop": True, "crop_style": "center",
        "crop_aspect": "square", "minimum_image_size": 0, "resolution": size, "resolution_type": "pixel",
        "caption_strategy": "textfile", "metadata_backend": "discovery", "cache_dir_vae": f"{target}/vae", "repeats": 0,
    }  # fmt: skip
    text = {"id": "text", "dataset_type": "text_embeds", "default": True, "type": "local"}
    return [lesions, text | {"cache_dir": f"{target}/text"}]


def run_peer(target: str) -> None:
    """One process of SimpleTuner, as `simpletuner train` starts it, where no memory can be pinned."""
    import os

    import torch

    torch.Tensor.pin_memory = lambda self, *_: self  # type: ignore[method-assign]
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.chdir(target)
    script = next(Path(sys.prefix).glob("lib/python*/site-packages/simpletuner/train.py"))
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


def main(quickstart: str, environment: Path, size: int, steps: int) -> None:
    """Print seconds, of a short training and of a long one, and ratios."""
    install(environment)
    rows = train_rows(quickstart)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "images").mkdir()
        for number, row in enumerate(rows):
            (place / "images" / f"{number:05}.png").write_bytes(row["image"])
            (place / "images" / f"{number:05}.txt").write_text(row["caption"])
        write_base([row["caption"] for row in rows], place / "base")
        print(f"{len(rows)} images at {size} px, batch {BATCH}; seconds from images to adapter", flush=True)
        more = [f"model.max_sequence_length={TOKENS}", "loop.betas=[0.9,0.999]", "encode_ahead=true"]
        mine = [ours("flux_lora_nano", quickstart, f"{place}/base", size, workers, *more) for workers in (1, 2)]
        spent = race(
            {
                "SimpleTuner, one process of two threads": simpletuner(environment, place, size, 1),
                "SimpleTuner, two processes": simpletuner(environment, place, size, 2),
                "ours, one worker of two threads": mine[0],
                "ours, two workers": mine[1],
            },
            steps,
        )
    peer1, peer2, ours1, ours2 = spent.values()
    ratio("SimpleTuner", [peer1, peer2], [ours1, ours2])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        run_peer(sys.argv[1])
    else:
        folder, where, *numbers = sys.argv[1:]
        px, most = (*map(int, numbers), *(128, 400)[len(numbers) :])
        main(folder, Path(where).resolve(), px, most)
