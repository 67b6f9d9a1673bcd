"""Configs of Efficient-Large-Model/Sana_1600M_1024px_diffusers.

By diffusers' scripts that made it (convert_sana_to_diffusers.py, convert_dcae_to_diffusers.py) and the defaults of
Gemma2Config, which are Gemma-2-2B's.
"""

from typing import Any

BLOCKS = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
SANA: dict[str, dict[str, Any]] = {
    "transformer": {
        "attention_bias": False, "attention_head_dim": 32, "caption_channels": 2304, "cross_attention_dim": 2240,
        "cross_attention_head_dim": 112, "dropout": 0.0, "in_channels": 32, "interpolation_scale": None,
        "mlp_ratio": 2.5, "norm_elementwise_affine": False, "norm_eps": 1e-6, "num_attention_heads": 70,
        "num_cross_attention_heads": 20, "num_layers": 20, "out_channels": 32, "patch_size": 1, "sample_size": 32,
    },
    "vae": {
        "attention_head_dim": 32, "decoder_act_fns": "silu",
        "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
        "decoder_block_types": BLOCKS, "decoder_layers_per_block": [3] * 6, "decoder_norm_types": "rms_norm",
        "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]], "downsample_block_type": "conv",
        "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024], "encoder_block_types": BLOCKS,
        "encoder_layers_per_block": [2, 2, 2, 3, 3, 3], "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
        "in_channels": 3, "latent_channels": 32, "scaling_factor": 0.41407, "upsample_block_type": "interpolate",
    },
    "text_encoder": {
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_size": 2304,
        "intermediate_size": 9216, "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 8,
        "num_hidden_layers": 26, "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "sliding_window": 4096, "vocab_size": 256000,
    },
    "scheduler": {
        "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "flow_shift": 3.0,
        "num_train_timesteps": 1000, "prediction_type": "flow_prediction", "solver_order": 2, "use_flow_sigmas": True,
    },
}  # fmt: skip
