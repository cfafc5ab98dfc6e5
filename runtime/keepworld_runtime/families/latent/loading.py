"""What a network is given from outside once it is loaded: its kernels, and the processes that it is spread over."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from keepworld_runtime.families.family import FamilyOptions, Place
from keepworld_runtime.kernels.linear_fp8 import to_fp8
from keepworld_runtime.layers.vae import VideoVAE
from keepworld_runtime.parallelism.context import ContextExchange
from keepworld_runtime.parallelism.exchange import Exchange
from keepworld_runtime.parallelism.mesh import join
from keepworld_runtime.parallelism.vae import split_decoder

ModelT = TypeVar("ModelT", bound=nn.Module)


def settle(
    model: ModelT,
    vae: VideoVAE,
    options: FamilyOptions,
    place: Place,
    *,
    device: torch.device,
    eight_bit: str,
    parallelize: Callable[[ModelT, Exchange], None],
) -> None:
    """Give a loaded network the kernels that the options ask for, and share its work and the VAE's with the other processes.

    Args:
        model: the network.
        vae: whose decoding is shared too.
        options: of the family.
        place: which of how many processes this is.
        device: where it runs.
        eight_bit: a pattern of the names of the Linears that may run in 8 bits.
        parallelize: has the network share its work over an exchange.

    Raises:
        ValueError: the network cannot be spread over so many processes, or options contradict each other.
    """
    if options.offload == "blocks" and {"fp8", "transformer-engine"} & set(options.kernels):
        raise ValueError("kernels fp8 and transformer-engine cannot be used while offload is 'blocks'")
    to_fp8(model, re.compile(eight_bit).fullmatch, options.kernels)
    if place.num_ranks > 1:
        group = join(place.rank, place.num_ranks, place.rendezvous, device)
        parallelize(model, ContextExchange(group))
        split_decoder(vae, group)
