"""WorldPlay-5B from its files to a model that opens worlds."""

from __future__ import annotations

import torch

from keepworld_runtime.families.family import Capabilities, FamilyOptions, Place
from keepworld_runtime.families.latent.loading import settle
from keepworld_runtime.families.latent.model import LatentModel
from keepworld_runtime.families.latent.running import device_of, dtype_of
from keepworld_runtime.families.worldplay_5b import checkpoint
from keepworld_runtime.families.worldplay_5b.dreamer import Machinery5B
from keepworld_runtime.families.worldplay_5b.model import PreparedPrompt
from keepworld_runtime.families.worldplay_5b.parallelize import parallelize
from keepworld_runtime.kernels.attention import choose_attention

_EIGHT_BIT = (
    r"blocks\.\d+\.(attn\d\.to_(q|k|v|out\.0|out_prope\.0)|ffn\.net\.(0\.proj|2))"  # nearly all the work of a block
)


def load(capabilities: Capabilities, options: FamilyOptions, place: Place) -> LatentModel[PreparedPrompt]:
    """Load the checkpoint that the options name.

    Raises:
        ValueError: a file is not what it should be, or the network cannot be run as the options say.
    """
    torch.set_num_threads(place.num_threads)
    device = device_of(options, place)
    dtype = dtype_of(options, device)
    assert options.checkpoint is not None
    loaded = checkpoint.load(options.checkpoint, options.variant, device=device, dtype=dtype, offload=options.offload)
    loaded.model.attend = choose_attention(options.kernels, device, dtype)
    settle(loaded.model, loaded.vae, options, place, device=device, eight_bit=_EIGHT_BIT, parallelize=parallelize)
    return LatentModel(capabilities, Machinery5B(loaded), options)
