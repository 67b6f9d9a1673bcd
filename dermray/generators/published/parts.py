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

# FLUX.1-dev, folder by folder; its text_encoder is CLIP_VIT_L_14, and tokenizer_2 reads 512 tokens
FLUX_VAE: dict[str, Any] = SD_VAE | {
    "force_upcast": True, "latent_channels": 16, "sample_size": 1024, "scaling_factor": 0.3611, "shift_factor": 0.1159,
    "use_post_quant_conv": False, "use_quant_conv": False,
}  # fmt: skip
FLUX_TRANSFORMER: dict[str, Any] = {
    "attention_head_dim": 128, "axes_dims_rope": [16, 56, 56], "guidance_embeds": True, "in_channels": 64,
    "joint_attention_dim": 4096, "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38,
    "patch_size": 1, "pooled_projection_dim": 768,
}  # fmt: skip
FLUX_SCHEDULER: dict[str, Any] = {
    "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15,
    "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
}  # fmt: skip
T5_XXL: dict[str, Any] = {
    "d_ff": 10240, "d_kv": 64, "d_model": 4096, "dropout_rate": 0.1, "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6, "num_heads": 64, "num_layers": 24, "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32, "tie_word_embeddings": False, "vocab_size": 32128,
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
