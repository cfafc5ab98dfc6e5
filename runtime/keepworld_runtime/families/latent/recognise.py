"""What a file of weights is, by the names in it: for telling someone who has the wrong one."""

from __future__ import annotations

import re
from collections.abc import Collection

# what it is -> a name that it has, and one that it has not, as patterns; the first that fits is meant
_KINDS: tuple[tuple[str, str, str | None], ...] = (
    ("adapter (LoRA) weights, which are not a whole network", r"lora_(A|B|up|down)", None),
    ("weights saved by a sharded trainer, under its wrappers' names", r"_fsdp_wrapped_module\.", None),
    ("WorldPlay-8B weights", r"^double_blocks\.\d+\.img_attn_prope_proj\.", None),
    ("HunyuanVideo (the first one) weights", r"^single_blocks\.\d+\.", None),
    ("base HunyuanVideo-1.5 weights without the action layers", r"^double_blocks\.\d+\.img_attn_q\.", None),
    ("HunyuanVideo-1.5 weights under diffusers' names", r"^transformer_blocks\.\d+\.attn\.add_q_proj\.", None),
    ("WorldPlay-5B weights", r"^blocks\.\d+\.attn1\.to_out_prope\.", None),
    ("base Wan weights without the action layers", r"^blocks\.\d+\.attn1\.to_q\.", None),
    ("Wan weights under the names of Wan's own release", r"^blocks\.\d+\.self_attn\.q\.", None),
    ("the VAE of HunyuanVideo-1.5", r"^decoder\.up\.\d+\.block\.", None),
    (
        "the VAE of Wan",
        r"^decoder\.up_blocks\.\d+\.(resnets\.\d+\.norm1\.gamma|upsampler)",
        r"mid_block\.attentions\.0\.to_q\.",
    ),
    ("the VAE of HunyuanVideo-1.5 under diffusers' names", r"^decoder\.up_blocks\.\d+\.", None),
    ("a T5 text encoder", r"block\.\d+\.layer\.0\.SelfAttention\.", None),
    ("a SigLIP vision encoder", r"(vision_model\.|^)encoder\.layers\.\d+\.self_attn\.", None),
    ("a Qwen language model", r"layers\.\d+\.self_attn\.q_proj\.", None),
)


def recognised(names: Collection[str]) -> str | None:
    """Say what weights of these names are, None if nobody knows."""
    for what, has, has_not in _KINDS:
        found = re.compile(has)
        lacks = re.compile(has_not) if has_not else None
        if any(found.search(name) for name in names) and not (lacks and any(lacks.search(name) for name in names)):
            return what
    return None
