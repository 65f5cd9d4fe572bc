"""A tiny configuration of any architecture of transformers, made from its defaults by what its keys are called."""

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

LAYERS, WIDTH = 2, 32
_LAYERS = {
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
}
_WIDTHS = {"hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size", "word_embed_proj_dim"}
_INNER = {"hidden_dim", "d_ff", "ffn_dim", "n_inner", "d_inner", "encoder_ffn_dim", "decoder_ffn_dim"}
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_EVEN = {"head_dim": 8, "num_key_value_heads": 2}
_LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
}  # fmt: skip
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
# What the sizes of an architecture ask for, beside being small.
_MORE: dict[str, dict[str, Any]] = {
    "axk1": {**_LATENT, "head_dim": 8},
    "axk2": {**_LATENT, "head_dim": 8},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "deepseek_v2": {**_LATENT, "head_dim": 8},
    "deepseek_v3": {**_LATENT, "head_dim": 8},
    "esm": {"vocab_size": 64, "pad_token_id": 0, "mask_token_id": 4, "position_embedding_type": "rotary"},
    "esmc": {"num_key_value_heads": 4},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1], "architectures": ["FunnelModel"], "num_decoder_layers": 1},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "hunyuan_v1_dense": _EVEN,
    "hunyuan_v1_moe": _EVEN,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4, "input_size": 32, "patch_size": 16},
    "lilt": {"hidden_size": 48, "channel_shrink_ratio": 4},
    "minicpm3": {**_LATENT, "head_dim": 8},
    "ministral": _EVEN,
    "mistral4": _LATENT,
    "nemotron": _EVEN,
    "qwen3_5_text": _HYBRID,
    "qwen3_next": _HYBRID,
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [16, 16], "attn_layers": ["local", "lsh"]},
    "squeezebert": {
        f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention", "intermediate", "output")
    },
    "xmod": {"languages": ["en_XX", "de_DE"]},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
}  # fmt: skip
_FIXED = {"funnel": {"num_hidden_layers"}}  # what cannot be set


def tiny_config(kind: str) -> PreTrainedConfig:
    """Return a configuration of 2 layers of width 32; raises what the architecture's own code does where none is possible."""
    config_class = CONFIG_MAPPING[kind]
    settings = {**_small(config_class().to_dict()), **_MORE.get(kind, {})}
    return config_class(**{key: value for key, value in settings.items() if key not in _FIXED.get(kind, ())})


def _small(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are smaller than the defaults; configurations inside one are made small as well."""
    changed: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and "model_type" in value:
            changed[key] = {"model_type": value["model_type"], **_small(value)}
        elif isinstance(value, list) and key.endswith(("layer_types", "block_type")):
            changed[key] = value[:LAYERS]
        elif isinstance(value, int) and not isinstance(value, bool) and _number(key, value) != value:
            changed[key] = _number(key, value)
    return changed


def _number(key: str, value: int) -> int:
    if key in _LAYERS:
        return LAYERS
    if "head_dim" in key or key == "d_kv":
        return 8
    if "num_key_value_heads" in key or "kv_heads" in key:
        return 2
    if "heads" in key or key == "n_head":
        return 4
    if "vocab_size" in key and key != "type_vocab_size":
        return 64
    if key.endswith("token_id"):
        return min(value, 3)
    if key in _WIDTHS:
        return WIDTH
    if "intermediate" in key or key in _INNER:
        return 2 * WIDTH
    if "position" in key:
        return min(value, 512)
    return min(value, 4 if "expert" in key else WIDTH if value > 2 * WIDTH else value)
