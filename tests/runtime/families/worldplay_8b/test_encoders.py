import hashlib
import json

import numpy as np
import pytest
import torch
from diffusers import HunyuanVideo15ImageToVideoPipeline as Published
from keepworld_runtime.families.worldplay_8b import encoders
from keepworld_runtime.families.worldplay_8b.checkpoint import load
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests import goldens
from tests.checkpoints import SIZES_8B, write_worldplay_8b

TEXT = 'a lighthouse, the sign says "OPEN" and “fermé”'
TOKENS = SIZES_8B["text_tokens"]
# of Qwen2.5-VL-7B-Instruct, for messages of plain text
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_worldplay_8b(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def ours(folder):
    return load(folder).encoders


def recorded(name):
    return json.loads((goldens.folder("worldplay8b") / name).read_text())


def test_quoted_words_are_those_that_were_recorded():
    for case in recorded("prompt_glyph.json")["cases"]:
        assert encoders.quoted(case["prompt"]) == case["formatted"], case


def test_the_instructions_are_those_that_were_recorded():
    case = recorded("prompt_glyph.json")
    start, end = "<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"
    said = encoders._BEFORE.removeprefix(start).removesuffix(end)
    assert hashlib.sha256(said.encode()).hexdigest() == case["system_prompt_sha256"]


def test_training_sizes_are_those_that_were_recorded():
    told = recorded("resolution_buckets.json")
    for name, (height, width) in told["buckets"].items():
        size, resolution = name.split("@")
        if resolution == "480p":
            assert encoders.bucket(*map(int, size.split("x"))) == (width, height), name
    assert len(encoders._buckets()) == told["n_buckets_480p"]


@pytest.fixture(scope="module")
def published_language(folder):
    """All layers of the language model, the norm after them too, as transformers runs it."""
    llm = folder / "HunyuanVideo-1.5/text_encoder/llm"
    told = json.loads((llm / "config.json").read_text())
    theta = {"rope_theta": told.pop("rope_theta"), "rope_type": "default"}
    told["rope_parameters"] = {**told.pop("rope_scaling"), **theta}
    del told["model_type"], told["vision_config"]
    module = Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**told))
    weights = {}
    for file in llm.glob("*.safetensors"):
        weights |= load_file(file)
    kept = {name.removeprefix("model."): x for name, x in weights.items() if name.startswith("model.")}
    module.load_state_dict(kept)
    tokenizer = AutoTokenizer.from_pretrained(llm)
    tokenizer.chat_template = CHAT
    return module.eval(), tokenizer


@pytest.mark.parametrize("text", [TEXT, "", "sea " * 60])
def test_language_states_are_the_published_pipelines(ours, published_language, text):
    module, tokenizer = published_language
    start = len(tokenizer(encoders._BEFORE).input_ids)
    with torch.no_grad():
        wanted, mask = Published._get_mllm_prompt_embeds(
            module, tokenizer, text, torch.device("cpu"), tokenizer_max_length=TOKENS, crop_start=start
        )
    states = ours.encode_text(text)
    assert torch.equal(states.text_mask, mask.bool())
    assert torch.allclose(states.text[mask.bool()], wanted[mask.bool()], atol=1e-5)
    assert not states.text[~states.text_mask].any()


def test_text_beyond_the_most_that_is_read_changes_nothing(ours):
    long = ours.encode_text("sea " * 60)
    assert long.text_mask.all() and torch.equal(long.text, ours.encode_text("sea " * 60 + "and sky").text)


@pytest.mark.parametrize("text", [TEXT, "nothing is quoted", '"' + "long " * 20 + '"'])
def test_glyph_states_are_the_published_pipelines(folder, ours, text):
    base = folder / "HunyuanVideo-1.5/text_encoder"
    lists = [base / "Glyph-SDXL-v2/assets" / name for name in ("color_idx.json", "multilingual_10-lang_idx.json")]
    tokenizer = encoders.glyph_tokenizer(base / "byt5-small", *lists)
    told = json.loads((base / "byt5-small/config.json").read_text())
    del told["model_type"]
    module = T5EncoderModel(T5Config(**{**told, "vocab_size": len(tokenizer)})).eval()
    saved = torch.load(base / "Glyph-SDXL-v2/checkpoints/byt5_model.pt", weights_only=True)["state_dict"]
    prefix = "module.text_tower."
    missing, unknown = module.load_state_dict({name.removeprefix(prefix): x for name, x in saved.items()}, strict=False)
    assert missing == ["shared.weight"] and not unknown
    with torch.no_grad():
        wanted, mask = Published._get_byt5_prompt_embeds(
            tokenizer, module, text, torch.device("cpu"), tokenizer_max_length=SIZES_8B["byt5_tokens"]
        )
    states = ours.encode_text(text)
    assert torch.equal(states.byt5_mask, mask.bool())
    assert torch.allclose(states.byt5[mask.bool()], wanted[mask.bool()], atol=1e-5)
    assert not states.byt5[~states.byt5_mask].any()


def test_colours_and_fonts_are_single_tokens(folder):
    base = folder / "HunyuanVideo-1.5/text_encoder"
    lists = [base / "Glyph-SDXL-v2/assets" / name for name in ("color_idx.json", "multilingual_10-lang_idx.json")]
    tokenizer = encoders.glyph_tokenizer(base / "byt5-small", *lists)
    assert tokenizer("<color-1><cn-font-0>", add_special_tokens=False).input_ids == [385, 387]


def test_picture_states_are_the_published_pipelines(folder, ours):
    base = folder / "HunyuanVideo-1.5/vision_encoder/siglip"
    told = json.loads((base / "image_encoder/config.json").read_text())
    module = SiglipVisionModel(SiglipVisionConfig(**told)).eval()
    weights = load_file(base / "image_encoder/model.safetensors")
    module.load_state_dict({name.removeprefix("vision_model."): x for name, x in weights.items()})
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    # 160 × 90 is nearest to 848 × 480: scaled to cover it, 853 × 480, and cut
    resized = Image.fromarray(image).resize((853, 480), Image.Resampling.LANCZOS).crop((2, 0, 850, 480))
    processor = SiglipImageProcessorPil.from_pretrained(base / "feature_extractor")
    with torch.no_grad():
        wanted = Published._get_image_embeds(module, processor, resized, torch.device("cpu"))
    assert torch.allclose(ours.encode_image(image), wanted, atol=1e-5)


def test_a_preprocessor_that_is_none_of_siglips_is_refused(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 224}}')
    with pytest.raises(ValueError, match="does not say how pictures are prepared"):
        encoders.Preprocessing.read(tmp_path / "preprocessor_config.json")


@pytest.mark.parametrize(
    ("prefix", "name", "wanted"),
    [
        ("model.", "layers.1.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight"),
        ("model.language_model.", "embed_tokens.weight", "embed_tokens.weight"),
        ("language_model.", "layers.0.input_layernorm.weight", "layers.0.input_layernorm.weight"),
        ("", "layers.0.input_layernorm.weight", "layers.0.input_layernorm.weight"),
        ("model.", "layers.2.mlp.up_proj.weight", None),
        ("model.", "norm.weight", None),
        ("", "lm_head.weight", None),
        ("", "visual.blocks.0.norm1.weight", None),
        ("model.", "visual.blocks.0.norm1.weight", None),
    ],
)
def test_the_language_models_weights_are_known_by_every_name_they_are_saved_under(prefix, name, wanted):
    assert encoders.language_name(2, prefix + name) == wanted
