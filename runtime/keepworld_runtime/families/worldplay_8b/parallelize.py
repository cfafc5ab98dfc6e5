"""WorldPlay-8B over several processes."""

from __future__ import annotations

from keepworld_runtime.families.worldplay_8b.model import WorldPlay8B
from keepworld_runtime.parallelism.exchange import Exchange


def parallelize(model: WorldPlay8B, exchange: Exchange) -> None:
    """Have every process compute its share of the tokens, and in attention its share of the heads.

    A latent's tokens have to be divisible too; that is checked where they are known, when a rollout is made.

    Raises:
        ValueError: the heads cannot be shared evenly.
    """
    heads, num_ranks = model.config.num_heads, exchange.num_ranks
    if heads % num_ranks:
        raise ValueError(f"num_heads must be a multiple of the {num_ranks} ranks, got {heads}")
    model.exchange = exchange
