"""WorldPlay-8B from its files to a model that opens worlds, on one process or spread over several."""

from __future__ import annotations

import torch

from keepworld_runtime.families.family import Capabilities, FamilyOptions, Place
from keepworld_runtime.families.latent.model import LatentModel
from keepworld_runtime.families.latent.running import device_of, dtype_of
from keepworld_runtime.families.worldplay_8b import checkpoint
from keepworld_runtime.families.worldplay_8b.dreamer import Machinery8B
from keepworld_runtime.families.worldplay_8b.parallelize import parallelize
from keepworld_runtime.families.worldplay_8b.rollout import PreparedPrompt
from keepworld_runtime.kernels.attention import choose_attention
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.mesh import join
from keepworld_runtime.parallelism.vae import split_decoder


def load(capabilities: Capabilities, options: FamilyOptions, place: Place) -> LatentModel[PreparedPrompt]:
    """Load the checkpoint that the options name.

    Raises:
        ValueError: a file is not what it should be, or the network cannot be spread over so many processes.
    """
    torch.set_num_threads(place.num_threads)
    device = device_of(options, place)
    dtype = dtype_of(options, device)
    assert options.checkpoint is not None
    loaded = checkpoint.load(options.checkpoint, options.variant, device=device, dtype=dtype, offload=options.offload)
    loaded.model.attend = choose_attention(options.kernels, device, dtype)
    if place.num_ranks > 1:
        group = join(place.rank, place.num_ranks, place.rendezvous, device)
        parallelize(loaded.model, ContextExchange(group))
        split_decoder(loaded.vae, group)
    return LatentModel(capabilities, Machinery8B(loaded), options.memory)
