"""Checkpoints of the learned families in their released layouts, at a few million bytes and with random weights.

Names of folders, files and weights are written out here from the releases, not taken from the code that reads them.
Everything is drawn from one seed: two folders written by one function are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

Shapes = dict[str, tuple[int, ...]]

SIZES_8B = {  # under the names of HunyuanVideo-1.5's config.json where it has one, else of the runtime's configuration
    "mm_double_blocks_depth": 2,
    "hidden_size": 64,
    "heads_num": 4,
    "mlp_width_ratio": 4,
    "in_channels": 4,
    "out_channels": 4,
    "text_states_dim": 48,
    "vision_states_dim": 40,
    "rope_dim_list": [4, 6, 6],
    "rope_theta": 256,
    "text_tokens": 96,
    "byt5_dim": 24,
    "byt5_hidden": 32,
    "byt5_tokens": 32,
    "vision_tokens": 4,
    "refiner_heads": 4,
}
SIZES_5B = {  # under the names of the released config.json
    "num_layers": 2,
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "ffn_dim": 96,
    "in_channels": 8,
    "out_channels": 8,
    "text_dim": 32,
    "text_tokens": 64,
    "freq_dim": 32,
    "patch_size": [1, 2, 2],
    "eps": 1e-6,
}


def write_worldplay_8b(folder: Path, *variants: str, converted: bool = False) -> Path:
    """Write HY-WorldPlay and HunyuanVideo-1.5 beside each other into `folder`, and give it back.

    Args:
        folder: made if it is not there.
        variants: folders of network weights; `ar_distilled_action_model` if none is named.
        converted: whether VAE and encoders lie as in the converted repository instead.
    """
    with _drawing():
        for variant in variants or ("ar_distilled_action_model",):
            name = "model" if variant == "ar_distilled_action_model" else "diffusion_pytorch_model"
            _write_weights(folder / "HY-WorldPlay" / variant / f"{name}.safetensors", worldplay_8b_shapes())
            _write_json(folder / "HY-WorldPlay" / variant / "config.json", SIZES_8B)
        base = folder / "HunyuanVideo-1.5"
        _write_hunyuan_vae(base / "vae", released_names=not converted)
        if converted:
            _write_qwen(base / "text_encoder", base / "tokenizer", prefix="")
            _write_glyph_converted(base / "text_encoder_2", base / "tokenizer_2")
            _write_siglip(base / "image_encoder", base / "feature_extractor")
        else:
            _write_json(base / "transformer/480p_i2v/config.json", SIZES_8B)
            _write_json(base / "scheduler/scheduler_config.json", {"shift": 5.0})
            llm, text = base / "text_encoder/llm", base / "text_encoder"
            _write_qwen(llm, llm, prefix="model.")
            _write_glyph_released(text / "byt5-small", text / "Glyph-SDXL-v2")
            vision = base / "vision_encoder/siglip"
            _write_siglip(vision / "image_encoder", vision / "feature_extractor")
    return folder


def write_worldplay_5b(folder: Path) -> Path:
    """Write HY-WorldPlay's Wan files and Wan2.2-TI2V-5B-Diffusers beside each other into `folder`, and give it back."""
    with _drawing():
        release = folder / "HY-WorldPlay"
        _write_json(release / "wan_transformer/config.json", {"_class_name": "WanTransformer3DModel", **SIZES_5B})
        weights = {f"model._fsdp_wrapped_module.{name}": x for name, x in _drawn(worldplay_5b_shapes()).items()}
        (release / "wan_distilled_model").mkdir(parents=True, exist_ok=True)
        torch.save({"generator": weights, "step": 4000}, release / "wan_distilled_model/model.pt")
        base = folder / "Wan2.2-TI2V-5B-Diffusers"
        _write_wan_vae(base / "vae")
        _write_umt5(base / "text_encoder", base / "tokenizer")
    return folder


def worldplay_8b_shapes() -> Shapes:
    """Names and shapes of the 8B's released weights at this size (worldplay8b.md, section 2)."""
    width, mlp, heads, sinusoid = 64, 256, 4, 256
    shapes: Shapes = {
        **_linear("img_in.proj", 64, 2 * 4 + 1, 1, 1, 1),
        **_linear("txt_in.input_embedder", width, 48),
        **_linear("txt_in.c_embedder.linear_1", width, 48),
        **_linear("txt_in.c_embedder.linear_2", width, width),
        **_vector("byt5_in.layernorm", 24),
        **_linear("byt5_in.fc1", 32, 24),
        **_linear("byt5_in.fc2", 32, 32),
        **_linear("byt5_in.fc3", width, 32),
        **_vector("vision_in.proj.0", 40),
        **_linear("vision_in.proj.1", 40, 40),
        **_linear("vision_in.proj.3", width, 40),
        **_vector("vision_in.proj.4", width),
        "cond_type_embedding.weight": (3, width),
        **_linear("final_layer.linear", 4, width),
        **_linear("final_layer.adaLN_modulation.1", 2 * width, width),
    }
    for embedder in ("time_in", "txt_in.t_embedder", "action_in"):
        shapes |= _linear(f"{embedder}.mlp.0", width, sinusoid) | _linear(f"{embedder}.mlp.2", width, width)
    for number in range(2):
        block = f"txt_in.individual_token_refiner.blocks.{number}"
        shapes |= _vector(f"{block}.norm1", width) | _vector(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.self_attn_qkv", 3 * width, width) | _linear(f"{block}.self_attn_proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", mlp, width) | _linear(f"{block}.mlp.fc2", width, mlp)
        shapes |= _linear(f"{block}.adaLN_modulation.1", 2 * width, width)
    for number in range(2):
        for stream in ("img", "txt"):
            block = f"double_blocks.{number}.{stream}"
            shapes |= _linear(f"{block}_mod.linear", 6 * width, width)
            for name in ("q", "k", "v", "proj"):
                shapes |= _linear(f"{block}_attn_{name}", width, width)
            for name in ("q", "k"):
                shapes[f"{block}_attn_{name}_norm.weight"] = (width // heads,)
            shapes |= _linear(f"{block}_mlp.fc1", mlp, width) | _linear(f"{block}_mlp.fc2", width, mlp)
        shapes |= _linear(f"double_blocks.{number}.img_attn_prope_proj", width, width)
    return shapes


def worldplay_5b_shapes() -> Shapes:
    """Names and shapes of the 5B's released weights at this size (worldplay5b.md, section 2)."""
    width, ffn, sinusoid = 64, 96, 32
    embedder = "condition_embedder"
    shapes: Shapes = {
        "scale_shift_table": (1, 2, width),
        **_linear("patch_embedding", width, 8, 1, 2, 2),
        **_linear(f"{embedder}.time_proj", 6 * width, width),
        **_linear("proj_out", 8 * 4, width),
    }
    for name, fan_in in (("time", sinusoid), ("action", sinusoid), ("text", 32)):
        shapes |= _linear(f"{embedder}.{name}_embedder.linear_1", width, fan_in)
        shapes |= _linear(f"{embedder}.{name}_embedder.linear_2", width, width)
    for number in range(2):
        block = f"blocks.{number}"
        shapes[f"{block}.scale_shift_table"] = (1, 6, width)
        for attention in ("attn1", "attn2"):
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                shapes |= _linear(f"{block}.{attention}.{name}", width, width)
            for name in ("norm_q", "norm_k"):
                shapes[f"{block}.{attention}.{name}.weight"] = (width,)
        shapes |= _linear(f"{block}.attn1.to_out_prope.0", width, width) | _vector(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.ffn.net.0.proj", ffn, width) | _linear(f"{block}.ffn.net.2", width, ffn)
    return shapes


def _linear(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _vector(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


@contextmanager
def _drawing() -> Iterator[None]:
    """Draw from one seed, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        yield


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights that keep what goes through a network near a deviation of 1, and no zeros."""
    return {name: _one(name, shape) for name, shape in sorted(shapes.items())}


def _one(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    drawn = torch.randn(shape)
    if name.endswith("gamma") or (name.endswith(".weight") and len(shape) == 1):
        return 1 + 0.2 * drawn
    if name.endswith(("bias", "scale_shift_table")):
        return 0.2 * drawn
    return drawn / math.sqrt(math.prod(shape[1:]))


def _write_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_drawn(shapes), path, metadata={"format": "pt"})


def _write_module(path: Path, module: nn.Module, rename: Callable[[str], str | None]) -> None:
    """Write a module's weights, redrawn, under other names; those renamed to None are left out."""
    shapes = {rename(name): tuple(x.shape) for name, x in module.state_dict().items()}
    _write_weights(path, {name: shape for name, shape in shapes.items() if name is not None})


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def _write_hunyuan_vae(folder: Path, *, released_names: bool) -> None:
    from diffusers import AutoencoderKLHunyuanVideo15

    sizes = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2}
    config = {**sizes, "block_out_channels": [8, 8, 16, 16, 16], "scaling_factor": 1.03682}
    module = AutoencoderKLHunyuanVideo15(**config)
    _write_module(folder / "diffusion_pytorch_model.safetensors", module, _released_vae_name if released_names else str)
    factors = {"ffactor_spatial": 16, "ffactor_temporal": 4} if released_names else {}
    _write_json(folder / "config.json", {**config, **factors})


def _released_vae_name(name: str) -> str:
    """A weight's name in HunyuanVideo-1.5's release from that in diffusers (worldplay8b.md, section 7)."""
    for pattern, released in (
        (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2"),
        (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
        (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.up.\1.block.\2"),
        (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", r"decoder.up.\1.upsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"conv_shortcut", "nin_shortcut"),
    ):
        name = re.sub(pattern, released, name)
    return name


def _write_wan_vae(folder: Path) -> None:
    from diffusers import AutoencoderKLWan

    sizes = {"base_dim": 6, "decoder_base_dim": 8, "z_dim": 8, "in_channels": 12, "out_channels": 12, "patch_size": 2}
    config = {
        **sizes,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "scale_factor_spatial": 16,
        "scale_factor_temporal": 4,
        "latents_mean": [0.01 * i for i in range(8)],
        "latents_std": [1.0 + 0.01 * i for i in range(8)],
    }
    _write_module(folder / "diffusion_pytorch_model.safetensors", AutoencoderKLWan(**config), str)
    _write_json(folder / "config.json", {"_class_name": "AutoencoderKLWan", **config})


def _write_qwen(folder: Path, tokenizer_folder: Path, *, prefix: str) -> None:
    """Qwen2.5-VL: in two shards with the picture's half and the head as released, or its text half alone if `prefix` is ""."""
    from transformers import Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    tokenizer = _byte_tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    size = _write_tokenizer(tokenizer_folder, tokenizer, pad="<|endoftext|>", eos="<|im_end|>")
    config = {
        "vocab_size": size,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]},
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    shapes = {
        f"{prefix}{name}": tuple(x.shape)
        for name, x in Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**config)).state_dict().items()
    }
    if prefix:
        config |= {"model_type": "qwen2_5_vl", "vision_config": {"depth": 1, "hidden_size": 16, "num_heads": 2}}
        shapes |= {"visual.patch_embed.proj.weight": (16, 3, 2, 14, 14), "lm_head.weight": (size, 48)}
        _write_shards(folder, shapes)
    else:
        config["model_type"] = "qwen2_5_vl_text"
        _write_weights(folder / "model.safetensors", shapes)
    _write_json(folder / "config.json", config)


def _write_shards(folder: Path, shapes: Shapes) -> None:
    names = sorted(shapes)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for file, half in zip(files, halves, strict=True):
        _write_weights(folder / file, {name: shapes[name] for name in half})
    weight_map = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


_BYT5 = {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3, "relative_attention_num_buckets": 8}
_COLOURS, _FONTS = {"white": 0, "black": 1}, {"en-Arial": 0, "cn-Song": 0, "en-Times": 1}


def _byt5_module() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    vocabulary = 3 + 256 + 125 + len(_COLOURS) + len(_FONTS)
    return T5EncoderModel(T5Config(vocab_size=vocabulary, feed_forward_proj="gated-gelu", **_BYT5))


def _write_glyph_released(folder: Path, glyph: Path) -> None:
    """google/byt5-small's configuration and tokenizer, and Glyph-SDXL-v2's pickle and lists of colours and fonts."""
    from transformers import ByT5Tokenizer

    _write_json(
        folder / "config.json", {"model_type": "t5", "vocab_size": 384, "feed_forward_proj": "gated-gelu", **_BYT5}
    )
    ByT5Tokenizer().save_pretrained(folder)
    _write_json(glyph / "assets/color_idx.json", _COLOURS)
    _write_json(glyph / "assets/multilingual_10-lang_idx.json", _FONTS)
    shapes = {
        f"module.text_tower.{name}": tuple(x.shape)
        for name, x in _byt5_module().state_dict().items()
        if name.startswith("encoder.")
    }
    (glyph / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": _drawn(shapes), "epoch": 3}, glyph / "checkpoints/byt5_model.pt")


def _write_glyph_converted(folder: Path, tokenizer_folder: Path) -> None:
    from transformers import ByT5Tokenizer

    module = _byt5_module()
    _write_module(
        folder / "model.safetensors", module, lambda name: None if name == "encoder.embed_tokens.weight" else name
    )
    _write_json(folder / "config.json", module.config.to_dict())
    tokenizer = ByT5Tokenizer()
    colours = [f"<color-{number}>" for number in range(len(_COLOURS))]
    fonts = [f"<{name[:2]}-font-{number}>" for name, number in _FONTS.items()]
    tokenizer.add_tokens(colours + fonts, special_tokens=True)
    tokenizer.save_pretrained(tokenizer_folder)


def _write_siglip(folder: Path, processor_folder: Path) -> None:
    """A vision tower of 2 × 2 patches, with the pooling head that the release has and the runtime does not need."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipVisionConfig(image_size=28, patch_size=14, **sizes)
    module = SiglipVisionModel(config)
    _write_module(folder / "model.safetensors", module, "vision_model.{}".format)
    _write_json(folder / "config.json", {**config.to_dict(), "model_type": "siglip_vision_model"})
    steps = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 3}
    mean_std = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 28, "width": 28}}
    _write_json(processor_folder / "preprocessor_config.json", {**steps, **mean_std})


def _write_umt5(folder: Path, tokenizer_folder: Path) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = _byte_tokenizer("<pad>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    size = _write_tokenizer(tokenizer_folder, tokenizer, pad="<pad>", eos="</s>")
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8}
    config = UMT5Config(vocab_size=size, feed_forward_proj="gated-gelu", **sizes)
    module = UMT5EncoderModel(config)
    _write_module(
        folder / "model.safetensors", module, lambda name: None if name == "encoder.embed_tokens.weight" else name
    )
    _write_json(folder / "config.json", config.to_dict())


def _byte_tokenizer(*special: str) -> Tokenizer:
    """A token a byte, after the special ones."""
    vocabulary = {
        token: number for number, token in enumerate((*special, *sorted(pre_tokenizers.ByteLevel.alphabet())))
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, *, pad: str, eos: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad, "eos_token": eos}
    _write_json(folder / "tokenizer_config.json", about)
    return int(tokenizer.get_vocab_size())
