"""From captioned images to a finished adapter: our train stage over a plain diffusers + peft script, FLUX and SD LoRA.

    python -m benchmarks.lora_over_diffusers runs/quickstart [PIXELS [STEPS [flux] [sd]]]

The same nano base, images, captions, batch, rank and steps. The plain script is written here, from public interfaces of
diffusers, peft and torch, the way diffusers' example scripts work at their best: latents and text embeddings made once
and kept in memory, DDP over two processes or one process with two threads, whichever is faster. It has no EMA, no
checkpoints, no resume, no TensorBoard. Ours runs with images encoded ahead and, to say what that gives, without.
All are processes of their own; their start and Ray's are part of the time.
"""

import io
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, FluxPipeline, StableDiffusionPipeline
from diffusers.training_utils import compute_density_for_timestep_sampling
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler, TensorDataset

from benchmarks.lora_race import BATCH, RANK, RATE, Command, ours, race, ratio, train_rows
from dermray.generators import nano

TOKENS = 77
LAYERS = {
    "flux": ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"],
    "sd": ["to_q", "to_k", "to_v", "to_out.0"],
}
OURS = {
    "flux": ["flux_lora_nano", f"model.max_sequence_length={TOKENS}", "loop.betas=[0.9,0.999]"],
    "sd": ["stable_diffusion_lora_nano", "model.train_text_encoder=false"],
}


def plain(
    rank: int, processes: int, what: str, quickstart: str, base: str, size: int, steps: int, directory: str
) -> None:
    """One process of the plain script."""
    torch.set_num_threads(2 // processes)
    distributed.init_process_group("gloo", f"file://{directory}/rendezvous", rank=rank, world_size=processes)
    torch.manual_seed(rank)
    pipeline = DiffusionPipeline.from_pretrained(base)
    pipeline.vae.requires_grad_(False)
    model = pipeline.transformer if what == "flux" else pipeline.unet
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=LAYERS[what]))
    rows = train_rows(quickstart)
    images = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    captions = [row["caption"] for row in rows]
    latents, text = [], []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            pixels = np.stack([np.asarray(image.resize((size, size))) for image in images[start : start + BATCH]])
            scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
            latents.append(pipeline.vae.encode(scaled).latent_dist.parameters)
            text.append(embed(what, pipeline, captions[start : start + BATCH]))
    moments = torch.cat(latents)
    embeddings = [torch.cat(parts) for parts in zip(*text, strict=True)]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.999), fused=True)
    wrapped = DistributedDataParallel(model)
    order: Any = DistributedSampler(TensorDataset(moments), processes, rank)
    step = epoch = 0
    while step < steps:
        order.set_epoch(epoch)
        for index in torch.tensor(list(order)).split(BATCH // processes)[: steps - step]:
            loss = LOSSES[what](pipeline, wrapped, moments[index], [e[index] for e in embeddings])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
        epoch += 1
    if rank == 0:
        weights = get_peft_model_state_dict(model)
        if what == "flux":
            FluxPipeline.save_lora_weights(directory, transformer_lora_layers=weights)
        else:
            StableDiffusionPipeline.save_lora_weights(directory, unet_lora_layers=weights)
    distributed.destroy_process_group()


def embed(what: str, pipeline: Any, captions: list[str]) -> tuple[Tensor, ...]:
    """Text embeddings of a batch."""
    if what == "flux":
        tokens, pooled, _ = pipeline.encode_prompt(captions, captions, max_sequence_length=TOKENS)
        return tokens, pooled
    ids = pipeline.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return (pipeline.text_encoder(ids)[0],)


def draw(moments: Tensor) -> Tensor:
    """Latents from their mean and log variance."""
    mean, log_variance = moments.chunk(2, 1)
    return mean + torch.randn_like(mean) * (0.5 * log_variance.clamp(-30, 20)).exp()


def flux_loss(pipeline: FluxPipeline, model: Any, moments: Tensor, text: list[Tensor]) -> Tensor:
    """Flow matching."""
    vae = pipeline.vae.config
    latents = (draw(moments) - vae.shift_factor) * vae.scaling_factor
    b, c, h, w = latents.shape
    sigma = compute_density_for_timestep_sampling("logit_normal", b, 0.0, 1.0)
    noise = torch.randn_like(latents)
    noisy = (1 - sigma.view(-1, 1, 1, 1)) * latents + sigma.view(-1, 1, 1, 1) * noise
    out = model(
        hidden_states=pipeline._pack_latents(noisy, b, c, h, w), timestep=sigma, guidance=torch.ones(b),
        pooled_projections=text[1], encoder_hidden_states=text[0], txt_ids=torch.zeros(text[0].shape[1], 3),
        img_ids=pipeline._prepare_latent_image_ids(b, h // 2, w // 2, latents.device, latents.dtype), return_dict=False,
    )[0]  # fmt: skip
    target = pipeline._pack_latents(noise - latents, b, c, h, w)
    loss: Tensor = (out - target).square().mean()
    return loss


def sd_loss(pipeline: StableDiffusionPipeline, model: Any, moments: Tensor, text: list[Tensor]) -> Tensor:
    """Epsilon prediction."""
    latents = draw(moments) * pipeline.vae.config.scaling_factor
    schedule: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
    noise, t = torch.randn_like(latents), torch.randint(1000, (len(latents),))
    out = model(schedule.add_noise(latents, noise, t), t, text[0], return_dict=False)[0]
    loss: Tensor = (out - noise).square().mean()
    return loss


LOSSES = {"flux": flux_loss, "sd": sd_loss}


def command(what: str, quickstart: str, base: str, size: int, processes: int) -> Command:
    """The plain script on two CPU cores."""
    start = [sys.executable, "-m", "benchmarks.lora_over_diffusers", "plain", f"{processes}", what, quickstart, base]
    return lambda target, steps: [*start, f"{size}", f"{steps}", target]


def main(quickstart: str, size: int, steps: int, models: list[str]) -> None:
    """Print seconds, of a short training and of a long one, and ratios."""
    captions = [row["caption"] for row in train_rows(quickstart)]
    print(f"{len(captions)} images at {size} px, batch {BATCH}; seconds from images to adapter")
    for what in models:
        with tempfile.TemporaryDirectory() as base:
            (nano.flux(captions, TOKENS) if what == "flux" else nano.stable_diffusion(captions)).save_pretrained(base)
            preset, *more = OURS[what]
            spent = race(
                {
                    f"{what}: plain script, one process of two threads": command(what, quickstart, base, size, 1),
                    f"{what}: plain script, two processes": command(what, quickstart, base, size, 2),
                    f"{what}: ours, encoded ahead, one worker of two threads": ours(
                        preset, quickstart, base, size, 1, *more, "encode_ahead=true"
                    ),
                    f"{what}: ours, encoded ahead, two workers": ours(
                        preset, quickstart, base, size, 2, *more, "encode_ahead=true"
                    ),
                    f"{what}: ours, encoded in training, one worker of two threads": ours(
                        preset, quickstart, base, size, 1, *more, "encode_ahead=false"
                    ),
                },
                steps,
            )
        plain1, plain2, ahead1, ahead2, within = spent.values()
        ratio(f"{what}: plain script", [plain1, plain2], [ahead1, ahead2])
        gained = within[steps] / ahead1[steps]
        print(f"{what}: ours without encoding ahead / with: {gained:.2f} at {steps} steps", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        count, which, source, where, pixels, most, target = sys.argv[2:]
        spawn(plain, (int(count), which, source, where, int(pixels), int(most), target), nprocs=int(count))
    else:
        folder, *numbers = sys.argv[1:]
        px, long = (*map(int, numbers[:2]), *(64, 1500)[len(numbers[:2]) :])
        main(folder, px, long, numbers[2:] or list(OURS))
