"""Configs of published components, as their repositories have them: what a model is made from when its weights are not
at hand."""

from typing import Any

# stabilityai/sd-vae-ft-ema, and the vae folder of CompVis/stable-diffusion-v1-4
SD_VAE: dict[str, Any] = {
    "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "norm_num_groups": 32, "out_channels": 3, "sample_size": 256, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip

# text_config of openai/clip-vit-base-patch32
CLIP_VIT_B_32: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "projection_dim": 512, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip

# text_encoder folder of CompVis/stable-diffusion-v1-4: CLIP ViT-L/14
CLIP_VIT_L_14: dict[str, Any] = CLIP_VIT_B_32 | {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768,
}  # fmt: skip

# unet folder of CompVis/stable-diffusion-v1-4
SD_1_UNET: dict[str, Any] = {
    "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False, "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], "downsample_padding": 1,
    "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1,
    "norm_eps": 1e-5, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip

# unet folder of stabilityai/stable-diffusion-2-1, and its text_encoder folder: 23 of OpenCLIP ViT-H/14's layers
SD_2_UNET: dict[str, Any] = SD_1_UNET | {
    "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "sample_size": 96,
    "use_linear_projection": True, "upcast_attention": True,
}  # fmt: skip
OPEN_CLIP_VIT_H_14: dict[str, Any] = CLIP_VIT_B_32 | {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu",
}  # fmt: skip

# scheduler folders of both
SD_1_NOISE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "skip_prk_steps": True,
    "steps_offset": 1, "set_alpha_to_one": False,
}  # fmt: skip
SD_2_NOISE: dict[str, Any] = SD_1_NOISE | {"prediction_type": "v_prediction"}
