import html
import json

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from keepworld_runtime.families.latent.pictures import as_frames, fitted
from keepworld_runtime.families.worldplay_5b.checkpoint import load
from keepworld_runtime.families.worldplay_5b.encoders import cleaned
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

from tests import goldens
from tests.checkpoints import SIZES_5B, write_worldplay_5b

TEXTS = ["a village by the sea", "  a &amp;amp; b\n\t “c”  â€œdâ€\x9d ", "", "sea " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_worldplay_5b(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def published(folder):
    base = folder / "Wan2.2-TI2V-5B-Diffusers"
    module = UMT5EncoderModel(UMT5Config(**json.loads((base / "text_encoder/config.json").read_text()))).eval()
    module.load_state_dict(load_file(base / "text_encoder/model.safetensors"), strict=False)
    tokenizer = AutoTokenizer.from_pretrained(base / "tokenizer")
    return WanPipeline(tokenizer=tokenizer, text_encoder=module, vae=None, scheduler=None)


@pytest.mark.parametrize("text", TEXTS)
def test_states_are_the_published_pipelines_zeros_and_all(folder, published, text):
    with torch.no_grad():
        wanted = published._get_t5_prompt_embeds(text, max_sequence_length=SIZES_5B["text_tokens"], device="cpu")
    states = load(folder).encoders.encode_text(text)
    assert torch.allclose(states, wanted, atol=1e-5)
    assert torch.equal(states == 0, wanted == 0)


def test_a_text_is_cleaned_whatever_it_went_through():
    assert cleaned(html.escape(html.escape('a "sign" & <b>'))) == 'a "sign" & <b>'
    assert cleaned("\n two \t words ") == "two words"
    assert cleaned("schÃ¶n") == "schön"  # UTF-8 read as Latin-1


def test_a_picture_covers_the_frame_and_is_cut_about_its_middle():
    path = goldens.folder("worldplay5b") / "first_frame.png"
    picture = Image.open(path).convert("RGB")
    assert picture.size == (230, 150)
    wanted = picture.resize((196, 128), Image.Resampling.LANCZOS).crop((2, 0, 194, 128))  # 230 · 128 / 150 is 196.3
    image = fitted(np.asarray(picture), 192, 128)
    assert np.array_equal(image, np.asarray(wanted))
    frames = as_frames(image[None])
    assert frames.shape == (1, 3, 1, 128, 192)
    assert torch.allclose(frames[0, :, 0, 5, 7], torch.from_numpy(image[5, 7] / 127.5 - 1).float())
