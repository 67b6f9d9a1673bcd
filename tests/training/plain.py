"""What `generate` drew, drawn again by diffusers and transformers: of dermray there are only networks that these have
not."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def decoded(data: bytes) -> np.ndarray:
    """(H, W, 3) of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16)


@dataclass
class Drawn:
    """A row of `generate`'s.

    Args:
        config: the training's, of the model. model: its directory. file: an adapter, or the same directory.
    """

    config: dict[str, Any]
    model: str
    file: str
    row: dict[str, Any]

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3), 0 to 255."""
        return decoded(self.row["image"])

    @property
    def dtype(self) -> torch.dtype:
        """Of frozen parts."""
        return DTYPES[self.config["dtype"]]

    def generator(self) -> torch.Generator:
        """The row's noise."""
        return torch.Generator().manual_seed(self.row["seed"])

    def by(self, pipeline: Any, **options: Any) -> np.ndarray:
        """What a pipeline draws."""
        pipeline.set_progress_bar_config(disable=True)
        side = self.config["image_size"]
        drawn = pipeline(
            self.row["caption"], height=side, width=side, guidance_scale=self.row["guidance_scale"],
            num_inference_steps=self.row["sampling_steps"], generator=self.generator(), output_type="pt", **options,
        ).images[0]  # fmt: skip
        return pixels(drawn)


def pixels(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as (H, W, 3), 0 to 255."""
    return (image.float() * 255).round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.int16)


def flux(drawn: Drawn) -> np.ndarray:
    """An adapter on FLUX."""
    base = diffusers.FluxPipeline.from_pretrained(drawn.config["base"], dtype=drawn.dtype)
    base.load_lora_weights(drawn.file)
    return drawn.by(base, max_sequence_length=drawn.config["max_sequence_length"])


def stable_diffusion(drawn: Drawn) -> np.ndarray:
    """An adapter on Stable Diffusion."""
    folder = drawn.config["base"]
    variant = "fp16" if any(Path(folder, "unet").glob("*.fp16.*")) else None
    base = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, dtype=drawn.dtype, safety_checker=None, variant=variant
    )
    base.load_lora_weights(drawn.file)
    base.scheduler = type(base.scheduler).from_config(base.scheduler.config, timestep_spacing="trailing")
    return drawn.by(base)


def pipeline(drawn: Drawn) -> np.ndarray:
    """A pipeline's folder."""
    return drawn.by(diffusers.DiffusionPipeline.from_pretrained(drawn.model))


@torch.no_grad()
def dermdit(drawn: Drawn) -> np.ndarray:
    """diffusers' schedule and autoencoder, CLIP out of its whole model, without guidance."""
    from dermray.generators.dermdit import DermDiTConfig, geometry
    from dermray.generators.dit import Transformer

    vae = diffusers.AutoencoderKL.from_pretrained(drawn.config["vae"], dtype=drawn.dtype)
    clip = transformers.CLIPModel.from_pretrained(drawn.config["text_encoder"], dtype=drawn.dtype).text_model
    tokenizer = transformers.CLIPTokenizer.from_pretrained(drawn.config["text_encoder"])
    network = Transformer(geometry(DermDiTConfig(**drawn.config), vae.config)).eval()
    network.load_state_dict(load_file(f"{drawn.model}/model.safetensors"))
    text = clip(**tokenizer(drawn.row["caption"], truncation=True, return_tensors="pt")).last_hidden_state.float()
    scheduler = diffusers.DDPMScheduler.from_pretrained(f"{drawn.model}/scheduler")
    scheduler.set_timesteps(drawn.row["sampling_steps"])
    generator = drawn.generator()
    z = torch.randn(1, 4, *[drawn.config["image_size"] // 8] * 2, generator=generator)
    for t in scheduler.timesteps:
        predicted = network(z, t[None], text, torch.ones(text.shape[:2], dtype=torch.bool))
        z = scheduler.step(predicted, t, z, generator=generator).prev_sample
    image = vae.decode((z / vae.config.scaling_factor).to(vae.dtype)).sample[0]
    return pixels((image / 2 + 0.5).clamp(0, 1))


@torch.no_grad()
def glide(drawn: Drawn) -> np.ndarray:
    """diffusers' U-Nets, and its steps over schedules of the sampled timesteps alone."""
    from dermray.generators.glide_models import GlideText
    from dermray.generators.glide_sampling import even_steps, section_steps
    from tests.generators.test_glide_sampling import respaced

    generator = drawn.generator()
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{drawn.model}/tokenizer")
    nothing = [tokenizer.pad_token_id] * 128
    ids = tokenizer(drawn.row["caption"], padding="max_length", max_length=128, truncation=True).input_ids

    def stage(name: str, steps: list[int], kind: Any, **options: Any) -> tuple[Any, Any, Any]:
        folder = f"{drawn.model}/{name}"
        betas = diffusers.DDPMScheduler.from_pretrained(f"{folder}/scheduler").betas
        scheduler = kind(len(steps), trained_betas=respaced(steps, betas), clip_sample=True, **options)
        scheduler.set_timesteps(len(steps))
        unet = diffusers.UNet2DConditionModel.from_pretrained(f"{folder}/unet").eval()
        return scheduler, unet, GlideText.from_pretrained(f"{folder}/text").eval()

    steps = even_steps(drawn.row["sampling_steps"])
    scheduler, unet, text = stage("base", steps, diffusers.DDPMScheduler, variance_type="learned_range")
    states = text(torch.tensor([ids, nothing]))
    x = torch.randn(1, 3, *[drawn.config["base_size"]] * 2, generator=generator)
    for number, t in zip(scheduler.timesteps, steps, strict=True):
        out = unet(torch.cat([x, x]), t, states, class_labels=states[:, -1]).sample
        with_text, without = out[:, :3]
        noise = without + drawn.row["guidance_scale"] * (with_text - without)
        x = scheduler.step(torch.cat([noise[None], out[:1, 3:]], 1), number, x, generator=generator).prev_sample
    low = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    side = drawn.config["image_size"]
    steps = section_steps(drawn.config["upsampler_steps"])
    scheduler, unet, text = stage("upsampler", steps, diffusers.DDIMScheduler)
    states = text(torch.tensor([ids]))
    shown = torch.nn.functional.interpolate(low, (side, side), mode="bilinear")
    x = 0.997 * torch.randn(1, 3, side, side, generator=generator)
    for number, t in zip(scheduler.timesteps, steps, strict=True):
        noise = unet(torch.cat([x, shown], 1), t, states, class_labels=states[:, -1]).sample[:, :3]
        x = scheduler.step(noise, number, x, use_clipped_model_output=True).prev_sample
    return pixels((x[0] / 2 + 0.5).clamp(0, 1))
