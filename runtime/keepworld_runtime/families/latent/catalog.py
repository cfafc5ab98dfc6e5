"""The catalogue of learned models: what each consists of, where its parts come from, on what terms.

Free of torch. Sizes are counted from the numbers of parameters, at two bytes each unless said otherwise, so they are near
what a download takes, not the same to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from keepworld_runtime.families.latent.parts import Form, Licence, ModelEntry, Origin, Part
from keepworld_runtime.families.worldplay_8b.config import VARIANTS as VARIANTS_8B

_SAFETENSORS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_ONE_OR_SHARDS = ("model.safetensors", "model.safetensors.index.json")
_GLYPH_LISTS = (("assets/color_idx.json",), ("assets/multilingual_10-lang_idx.json",))
_HY_WORLDPLAY = "tencent/HY-WorldPlay"
_HUNYUAN = "tencent/HunyuanVideo-1.5"
_HUNYUAN_CONVERTED = "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_i2v"
_WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"

_TENCENT = Licence(
    name="Tencent HY-WorldPlay Community License",
    covers="the networks of WorldPlay",
    limits=(
        "By its own text it does not apply in the European Union, the United Kingdom and South Korea, where it thus gives "
        "no right to use these weights. Services of more than a million monthly users need Tencent's consent. What the "
        "model makes may not be used to train other models."
    ),
    address="https://huggingface.co/tencent/HY-WorldPlay/blob/main/LICENSE",
)

WORLDPLAY_8B = ModelEntry(
    name="worldplay-8b",
    summary="HY-World 1.5 on HunyuanVideo-1.5: 832x480, text or picture, four variants",
    roots=("", "HY-WorldPlay", "HunyuanVideo-1.5", "HunyuanVideo-1.5-Diffusers-480p_i2v", "HunyuanVideo-1.5-480p_i2v"),
    networks=MappingProxyType(
        {
            name: Part(
                name="network",
                what=f"{variant.folder}, 8.56 G parameters in float32",
                gigabytes=34.2,
                forms=(Form(variant.folder, (_SAFETENSORS,)),),
                origin=Origin(_HY_WORLDPLAY, (variant.folder,), "HY-WorldPlay"),
                extras=(f"{variant.folder}/config.json", "transformer/480p_i2v/config.json"),
            )
            for name, variant in VARIANTS_8B.items()
        }
    ),
    parts=(
        Part(
            name="vae",
            what="HunyuanVideo-1.5's VAE, 1.26 G parameters in float32",
            gigabytes=5.0,
            forms=(Form("vae", (_SAFETENSORS, ("config.json",))),),
            origin=Origin(_HUNYUAN, ("vae",), "HunyuanVideo-1.5"),
        ),
        Part(
            name="language",
            what="Qwen2.5-VL-7B-Instruct, of which the text half is used",
            gigabytes=16.6,
            forms=(
                Form("text_encoder/llm", (_ONE_OR_SHARDS, ("config.json",))),
                Form("text_encoder", (_ONE_OR_SHARDS, ("config.json",))),
            ),
            origin=Origin("Qwen/Qwen2.5-VL-7B-Instruct", ("",), "HunyuanVideo-1.5/text_encoder/llm"),
        ),
        Part(
            name="language tokenizer",
            what="its tokenizer",
            gigabytes=0.01,
            forms=(
                Form("text_encoder/llm", (("tokenizer.json",), ("tokenizer_config.json",))),
                Form("tokenizer", (("tokenizer.json",), ("tokenizer_config.json",))),
            ),
            origin=Origin("Qwen/Qwen2.5-VL-7B-Instruct", ("",), "HunyuanVideo-1.5/text_encoder/llm"),
        ),
        Part(
            name="glyph",
            what="the glyph encoder (byT5-small with Glyph-SDXL-v2's weights), 0.22 G parameters in float32",
            gigabytes=0.9,
            forms=(
                Form("text_encoder/Glyph-SDXL-v2", (("checkpoints/byt5_model.pt",), *_GLYPH_LISTS)),
                Form("text_encoder_2", (_ONE_OR_SHARDS, ("config.json",))),
            ),
            origin=Origin(_HUNYUAN_CONVERTED, ("text_encoder_2",), "HunyuanVideo-1.5"),
        ),
        Part(
            name="glyph tokenizer",
            what="its tokenizer",
            gigabytes=0.01,
            forms=(
                Form("text_encoder/byt5-small", (("tokenizer_config.json",), ("config.json",))),
                Form("tokenizer_2", (("tokenizer_config.json",),)),
            ),
            origin=Origin(_HUNYUAN_CONVERTED, ("tokenizer_2",), "HunyuanVideo-1.5"),
        ),
        Part(
            name="vision",
            what="SigLIP so400m patch14-384 as in FLUX.1-Redux-dev, 0.43 G parameters",
            gigabytes=0.9,
            forms=(
                Form("vision_encoder/siglip/image_encoder", (_ONE_OR_SHARDS, ("config.json",))),
                Form("image_encoder", (_ONE_OR_SHARDS, ("config.json",))),
            ),
            origin=Origin(_HUNYUAN_CONVERTED, ("image_encoder",), "HunyuanVideo-1.5"),
        ),
        Part(
            name="vision preprocessor",
            what="how it wants pictures",
            gigabytes=0.0,
            forms=(
                Form("vision_encoder/siglip/feature_extractor", (("preprocessor_config.json",),)),
                Form("feature_extractor", (("preprocessor_config.json",),)),
            ),
            origin=Origin(_HUNYUAN_CONVERTED, ("feature_extractor",), "HunyuanVideo-1.5"),
        ),
    ),
    licences=(
        _TENCENT,
        Licence(
            name="Tencent Hunyuan Community License",
            covers="the VAE",
            limits="By its own text it does not apply in the European Union, the United Kingdom and South Korea.",
            address="https://huggingface.co/tencent/HunyuanVideo-1.5/blob/main/LICENSE",
        ),
        Licence(
            name="Apache-2.0",
            covers="Qwen2.5-VL, byT5, SigLIP",
            limits="FLUX.1-Redux-dev, which SigLIP's file is taken from, and Glyph-SDXL-v2 have terms of their own: read them.",
            address="https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct",
        ),
    ),
)

WORLDPLAY_5B = ModelEntry(
    name="worldplay-5b",
    summary="HY-World 1.5 on Wan2.2-TI2V-5B: 1280x704, text or picture",
    roots=("", "HY-WorldPlay", "Wan2.2-TI2V-5B-Diffusers"),
    networks=MappingProxyType(
        {
            "distilled": Part(
                name="network",
                what="wan_distilled_model, 5.29 G parameters in float32",
                gigabytes=21.2,
                forms=(
                    Form("wan_distilled_model", (("model.pt",),)),
                    Form("wan_distilled_model", (("model.converted.safetensors",),)),
                ),
                origin=Origin(_HY_WORLDPLAY, ("wan_distilled_model", "wan_transformer/config.json"), "HY-WorldPlay"),
                extras=("wan_transformer/config.json",),
            )
        }
    ),
    parts=(
        Part(
            name="vae",
            what="Wan2.2's VAE, 0.70 G parameters in float32",
            gigabytes=2.8,
            forms=(Form("vae", (_SAFETENSORS, ("config.json",))),),
            origin=Origin(_WAN, ("vae",), "Wan2.2-TI2V-5B-Diffusers"),
        ),
        Part(
            name="language",
            what="UMT5-XXL's encoder, 5.68 G parameters",
            gigabytes=11.4,
            forms=(Form("text_encoder", (_ONE_OR_SHARDS, ("config.json",))),),
            origin=Origin(_WAN, ("text_encoder",), "Wan2.2-TI2V-5B-Diffusers"),
        ),
        Part(
            name="language tokenizer",
            what="its tokenizer",
            gigabytes=0.02,
            forms=(Form("tokenizer", (("tokenizer.json", "spiece.model"), ("tokenizer_config.json",))),),
            origin=Origin(_WAN, ("tokenizer",), "Wan2.2-TI2V-5B-Diffusers"),
        ),
    ),
    licences=(
        _TENCENT,
        Licence(
            name="Apache-2.0",
            covers="Wan2.2-TI2V-5B's VAE and text encoder",
            limits="",
            address="https://huggingface.co/Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        ),
    ),
)

CATALOG: Mapping[str, ModelEntry] = MappingProxyType({each.name: each for each in (WORLDPLAY_8B, WORLDPLAY_5B)})


def entry_of(name: str) -> ModelEntry:
    """The catalogue's entry of a model.

    Raises:
        ValueError: it has none of that name.
    """
    if name not in CATALOG:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(CATALOG)}")
    return CATALOG[name]
