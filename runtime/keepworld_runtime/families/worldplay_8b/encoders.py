"""What WorldPlay-8B makes of texts and pictures before it dreams: three encoders, of language, of quoted words and of pictures.

Sources: HunyuanVideo 1.5 (arXiv 2511.18870) and its published code; the encoders are transformers'.

Departs from the published code in what it leaves out: the language model's last two layers and its final norm, which the
states used do not pass through, its picture half, and padding, which no state depends on (language attends backwards, and
the glyph encoder is masked).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    ByT5Tokenizer,
    Qwen2_5_VLTextModel,
    SiglipVisionModel,
    T5EncoderModel,
)

from keepworld_runtime.families.latent.offload import Lodger
from keepworld_runtime.families.latent.pictures import fitted
from keepworld_runtime.families.latent.pretrained import config_of
from keepworld_runtime.families.worldplay_8b.model import PromptStates

SKIPPED_LAYERS = 2  # of the language model, the last ones
_SYSTEM = (
    "You are a helpful assistant. Describe the video by detailing the following aspects: "
    "        1. The main content and theme of the video. "
    "        2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects. "
    "        3. Actions, events, behaviors temporal relationships, physical movement changes of the objects. "
    "        4. background environment, light, style and atmosphere. "
    "        5. camera angles, movements, and transitions used in the video."
)
_BEFORE = f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n"
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"

_QUOTED = re.compile(r"\"(.*?)\"|“(.*?)”")
_BUCKET_AREA = 640 * 640  # of "480p"
_BUCKET_SIDE = 16  # sides are multiples of it
_BUCKET_RATIO = 4  # of the longer side to the shorter, at most


def quoted(text: str) -> str | None:
    """What a text quotes, in the words that the glyph encoder was trained on; None if it quotes nothing."""
    glyphs = dict.fromkeys(straight or curly for straight, curly in _QUOTED.findall(text))
    return "".join(f'Text "{glyph}". ' for glyph in glyphs) if glyphs else None


def bucket(width: int, height: int) -> tuple[int, int]:
    """Width and height of the training size whose shape is nearest to a picture's, not beyond it from a square.

    The training sizes go from four times as wide as high to the reverse, each of about the same area.
    """
    ratio = height / width
    candidates = _buckets()
    side = [each for each in candidates if (each[1] / each[0] <= ratio if ratio >= 1 else each[1] / each[0] >= ratio)]
    return min(side, key=lambda each: abs(each[1] / each[0] - ratio))


def _buckets() -> list[tuple[int, int]]:
    """All training sizes (width, height), the widest first: as many whole squares as fit into the area."""
    squares = round(_BUCKET_AREA / _BUCKET_SIDE**2)
    columns, rows = squares, 1
    sizes = []
    while columns > 0:
        if max(columns, rows) / min(columns, rows) <= _BUCKET_RATIO:
            sizes.append((columns * _BUCKET_SIDE, rows * _BUCKET_SIDE))
        if columns * (rows + 1) <= squares:
            rows += 1
        else:
            columns -= 1
    return sizes


class LanguageEncoder:
    """Qwen2.5-VL's text half, told to describe a video.

    Args:
        lodger: `empty_language_model` with its weights.
        tokenizer: of transformers.
        num_tokens: of a text at most; what is beyond them is cut off.
    """

    def __init__(self, lodger: Lodger[nn.Module], tokenizer: Any, num_tokens: int) -> None:
        self._lodger, self._tokenizer, self._num_tokens = lodger, tokenizer, num_tokens
        self._start = len(self._tokens(_BEFORE))

    def encode(self, text: str) -> Tensor:
        """The states [1, L, C] of a text and of the words that end a turn; those of the instructions before are cut off."""
        tokens = self._tokens(_BEFORE + (text or " ") + _AFTER)[: self._start + self._num_tokens]
        with self._lodger.there() as module:
            ids = torch.tensor([tokens], device=self._lodger.device)
            states: Tensor = module(input_ids=ids, use_cache=False).last_hidden_state
        return states[:, self._start :]

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return tokens


class GlyphEncoder:
    """byT5, trained to know letters by their shapes; it is given what a text quotes, and nothing else.

    Args:
        lodger: with `channels` as its width.
        tokenizer: of transformers.
        num_tokens: of the quoted words at most.
        channels: of a state.
    """

    def __init__(self, lodger: Lodger[nn.Module], tokenizer: Any, num_tokens: int, channels: int) -> None:
        self._lodger, self._tokenizer, self._num_tokens, self._channels = lodger, tokenizer, num_tokens, channels

    def encode(self, text: str) -> Tensor:
        """The states [1, G, C] of what a text quotes; G is 0 if it quotes nothing."""
        words = quoted(text)
        if words is None:
            return torch.zeros(1, 0, self._channels, device=self._lodger.device)
        tokens = self._tokenizer(words, truncation=True, max_length=self._num_tokens).input_ids
        with self._lodger.there() as module:
            states: Tensor = module(input_ids=torch.tensor([tokens], device=self._lodger.device)).last_hidden_state
        return states


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How the image encoder wants pictures.

    Attributes:
        size: width and height.
        resample: Pillow's number of the filter that brings them to that.
        scale: of 0 … 255.
        mean, std: of each channel, once scaled.
    """

    size: tuple[int, int]
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Preprocessing:
        """Read a preprocessor_config.json.

        Raises:
            ValueError: it is not one of a SigLIP.
        """
        try:
            told = json.loads(path.read_bytes())
            size = (int(told["size"]["width"]), int(told["size"]["height"]))
            mean, std = (tuple(map(float, told[name])) for name in ("image_mean", "image_std"))
            return cls(size, int(told["resample"]), float(told["rescale_factor"]), mean, std)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not say how pictures are prepared for SigLIP: {error!r}") from error

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """A picture [H, W, 3] as [1, 3, h, w]."""
        resized = Image.fromarray(image).resize(self.size, Image.Resampling(self.resample))
        scaled = torch.from_numpy(np.array(resized)).float() * self.scale
        return ((scaled - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(2, 0, 1)[None]


class VisionEncoder:
    """SigLIP, given a picture at the training size nearest to its shape.

    Args:
        lodger: `empty_vision_model` with its weights.
        preprocessing: of pictures.
    """

    def __init__(self, lodger: Lodger[nn.Module], preprocessing: Preprocessing) -> None:
        self._lodger, self._preprocessing = lodger, preprocessing

    def encode(self, image: NDArray[np.uint8]) -> Tensor:
        """The states [1, N, C] of a picture [H, W, 3], one a patch."""
        pixels = self._preprocessing.pixels(fitted(image, *bucket(image.shape[1], image.shape[0])))
        with self._lodger.there() as module:
            weight = next(module.parameters())
            states: Tensor = module(pixel_values=pixels.to(weight)).last_hidden_state
        return states


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoders:
    """All three.

    Attributes:
        language, glyph, vision: each brings its weights to the device for as long as it works, if they do not stay there.
        text_tokens, byt5_tokens: that states are padded to.
    """

    language: LanguageEncoder
    glyph: GlyphEncoder
    vision: VisionEncoder
    text_tokens: int
    byt5_tokens: int

    @torch.inference_mode()
    def encode_text(self, text: str, vision: Tensor | None = None) -> PromptStates:
        """What the network needs of a text, and of the picture whose states are given with it; float32, padded."""
        states, text_mask = _padded(self.language.encode(text), self.text_tokens)
        byt5, byt5_mask = _padded(self.glyph.encode(text), self.byt5_tokens)
        return PromptStates(text=states, text_mask=text_mask, byt5=byt5, byt5_mask=byt5_mask, vision=vision)

    @torch.inference_mode()
    def encode_image(self, image: NDArray[np.uint8]) -> Tensor:
        """What the network needs of a picture [H, W, 3] of any size: [1, N, C] float32."""
        return self.vision.encode(image).float()


def _padded(states: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    """States [1, L, C] with zeros after them, [1, num_tokens, C], and a mask that is true for those that were there."""
    count = states.shape[1]
    mask = torch.arange(num_tokens, device=states.device) < count
    return F.pad(states.float(), (0, 0, 0, num_tokens - count)), mask[None]


def empty_language_model(folder: Path) -> Qwen2_5_VLTextModel:
    """The layers of a Qwen2.5-VL's text half that are used, by its config.json, on the meta device.

    Raises:
        ValueError: it is of another kind of model.
    """
    config = config_of(folder, "qwen2_5_vl", "qwen2_5_vl_text").get_text_config()
    config.num_hidden_layers -= SKIPPED_LAYERS
    with torch.device("meta"):
        module = Qwen2_5_VLTextModel(config)
    module.norm = nn.Identity()  # type: ignore[assignment]
    module.rotary_emb = type(module.rotary_emb)(config)
    return module


def language_name(num_layers: int, name: str) -> str | None:
    """What `empty_language_model` of so many layers calls a weight by its name in the release, None for one it does not use."""
    inner = re.sub(r"^(model\.)?(language_model\.)?(?=(layers|embed_tokens|norm)\.)", "", name)
    layer = re.match(r"layers\.(\d+)\.", inner)
    is_unused = inner.startswith(("visual.", "model.visual.", "lm_head.", "norm."))
    return None if is_unused or (layer and int(layer[1]) >= num_layers) else inner


def empty_glyph_model(folder: Path, num_tokens: int) -> T5EncoderModel:
    """byT5's encoder by its config.json, with a vocabulary of `num_tokens`, on the meta device.

    Raises:
        ValueError: it is of another kind of model.
    """
    config = config_of(folder, "t5")
    config.vocab_size = num_tokens
    with torch.device("meta"):
        return T5EncoderModel(config)


def glyph_tokenizer(folder: Path, colours: Path | None, fonts: Path | None) -> Any:
    """byT5's tokenizer, which knows colours and fonts too.

    Args:
        folder: of the tokenizer.
        colours, fonts: Glyph-SDXL-v2's lists, if the tokenizer does not know them already.
    """
    tokenizer = ByT5Tokenizer.from_pretrained(folder, local_files_only=True)
    if colours is not None and fonts is not None:
        names = [f"<color-{number}>" for number in range(len(json.loads(colours.read_bytes())))]
        names += [f"<{font[:2]}-font-{number}>" for font, number in json.loads(fonts.read_bytes()).items()]
        tokenizer.add_tokens(names, special_tokens=True)
    return tokenizer


def empty_vision_model(folder: Path) -> SiglipVisionModel:
    """SigLIP's vision tower by its config.json, without the head that sums a picture up, on the meta device.

    Raises:
        ValueError: it is of another kind of model.
    """
    config = config_of(folder, "siglip", "siglip_vision_model")
    config = getattr(config, "vision_config", config)
    config.vision_use_head = False
    with torch.device("meta"):
        module = SiglipVisionModel(config)
    count = module.embeddings.position_embedding.num_embeddings
    module.embeddings.register_buffer("position_ids", torch.arange(count)[None], persistent=False)
    return module


def vision_name(name: str) -> str | None:
    """What `empty_vision_model` calls a weight by its name in the release, None for one it does not use."""
    inner = name.removeprefix("vision_model.")
    return None if inner.startswith(("head.", "text_model.", "logit_")) else inner
