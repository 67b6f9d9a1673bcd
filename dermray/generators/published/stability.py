"""Configs of Stability's later bases, folder by folder, as their repositories have them.

stabilityai/stable-diffusion-3.5-medium and -large, stabilityai/stable-diffusion-xl-base-1.0. The first two are gated:
their transformers are as public code repeats them and diffusers' conversion script (convert_sd3_to_diffusers.py) makes
them, their schedulers as public copies of the repositories have them.
"""

from typing import Any

from dermray.generators.published.parts import CLIP_VIT_B_32, CLIP_VIT_L_14, SD_1_UNET, SD_VAE, T5_XXL

OPEN_CLIP_VIT_BIG_G: dict[str, Any] = CLIP_VIT_B_32 | {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "hidden_act": "gelu", "projection_dim": 1280,
}  # fmt: skip

SD_35_MEDIUM_TRANSFORMER: dict[str, Any] = {
    "attention_head_dim": 64, "caption_projection_dim": 1536, "dual_attention_layers": list(range(13)),
    "in_channels": 16, "joint_attention_dim": 4096, "num_attention_heads": 24, "num_layers": 24, "out_channels": 16,
    "patch_size": 2, "pooled_projection_dim": 2048, "pos_embed_max_size": 384, "qk_norm": "rms_norm",
    "sample_size": 128,
}  # fmt: skip
SD_35_LARGE_TRANSFORMER: dict[str, Any] = SD_35_MEDIUM_TRANSFORMER | {
    "caption_projection_dim": 2432, "dual_attention_layers": [], "num_attention_heads": 38, "num_layers": 38,
    "pos_embed_max_size": 192,
}  # fmt: skip
SD_3_VAE: dict[str, Any] = SD_VAE | {
    "force_upcast": True, "latent_channels": 16, "sample_size": 1024, "scaling_factor": 1.5305, "shift_factor": 0.0609,
    "use_post_quant_conv": False, "use_quant_conv": False,
}  # fmt: skip
SD_35_MEDIUM: dict[str, dict[str, Any]] = {
    "transformer": SD_35_MEDIUM_TRANSFORMER, "vae": SD_3_VAE, "text_encoder": CLIP_VIT_L_14,
    "text_encoder_2": OPEN_CLIP_VIT_BIG_G, "text_encoder_3": T5_XXL,
    "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
}  # fmt: skip
SD_35_LARGE = SD_35_MEDIUM | {"transformer": SD_35_LARGE_TRANSFORMER}

SDXL_UNET: dict[str, Any] = SD_1_UNET | {
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816, "sample_size": 128, "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True,
}  # fmt: skip
SDXL: dict[str, dict[str, Any]] = {
    "unet": SDXL_UNET, "vae": SD_VAE | {"force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025},
    "text_encoder": CLIP_VIT_L_14, "text_encoder_2": OPEN_CLIP_VIT_BIG_G,
    "scheduler": {
        "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "beta_start": 0.00085, "clip_sample": False, "interpolation_type": "linear", "num_train_timesteps": 1000,
        "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True,
        "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": None, "use_karras_sigmas": False,
    },
    "": {"force_zeros_for_empty_prompt": True},
}  # fmt: skip
