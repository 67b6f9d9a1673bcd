"""Configs of bases that Qwen3-4B reads for, as their repositories have them: FLUX.2-klein-base-4B and Z-Image."""

from typing import Any

from dermray.generators.published import parts

# text_encoder folders of both, and Qwen/Qwen3-4B; layer types as transformers fills them in
QWEN3_4B: dict[str, Any] = {
    "attention_bias": False, "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2560, "intermediate_size": 9728, "max_position_embeddings": 40960, "model_type": "qwen3",
    "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000, "tie_word_embeddings": True, "vocab_size": 151936,
}  # fmt: skip

# black-forest-labs/FLUX.2-klein-base-4B; FLUX.2-klein-4B differs in is_distilled of model_index.json
KLEIN: dict[str, dict[str, Any]] = {
    "": {"is_distilled": False},
    "transformer": {
        "attention_head_dim": 128, "axes_dims_rope": [32, 32, 32, 32], "eps": 1e-6, "guidance_embeds": False,
        "in_channels": 128, "joint_attention_dim": 7680, "mlp_ratio": 3.0, "num_attention_heads": 24, "num_layers": 5,
        "num_single_layers": 20, "out_channels": None, "patch_size": 1, "rope_theta": 2000,
        "timestep_guidance_channels": 256,
    },
    "vae": {
        "act_fn": "silu", "batch_norm_eps": 1e-4, "batch_norm_momentum": 0.1,
        "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
        "force_upcast": True, "in_channels": 3, "latent_channels": 32, "layers_per_block": 2,
        "mid_block_add_attention": True, "norm_num_groups": 32, "out_channels": 3, "patch_size": [2, 2],
        "sample_size": 1024, "up_block_types": ["UpDecoderBlock2D"] * 4, "use_post_quant_conv": True,
        "use_quant_conv": True,
    },
    "text_encoder": QWEN3_4B,
    "scheduler": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5,
        "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
        "time_shift_type": "exponential", "use_dynamic_shifting": True,
    },
}  # fmt: skip

# Tongyi-MAI/Z-Image; Z-Image-Turbo's scheduler has a shift of 3. Its autoencoder is FLUX.1's.
Z_IMAGE: dict[str, dict[str, Any]] = {
    "transformer": {
        "all_f_patch_size": [1], "all_patch_size": [2], "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512],
        "cap_feat_dim": 2560, "dim": 3840, "in_channels": 16, "n_heads": 30, "n_kv_heads": 30, "n_layers": 30,
        "n_refiner_layers": 2, "norm_eps": 1e-5, "qk_norm": True, "rope_theta": 256.0, "siglip_feat_dim": None,
        "t_scale": 1000.0,
    },
    "vae": parts.FLUX_VAE,
    "text_encoder": QWEN3_4B,
    "scheduler": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 6.0,
        "use_dynamic_shifting": False,
    },
}  # fmt: skip
