"""What the memories that keep latents in a frame bank have in common."""

from __future__ import annotations

from torch import Tensor

from keepworld_runtime.memory.context import MemoryState
from keepworld_runtime.memory.frame_bank import FrameBank, Room
from keepworld_runtime.memory.head import Head, read_head
from keepworld_runtime.memory.policies import Plan
from keepworld_runtime.memory.views import Views


class BankedMemory:
    """All of a `ContextMemory` but its choice: what is shown, and how much that can be, is up to each of them.

    Attributes:
        name: of the policy, in stored states.
        plan: what the memory is made for.
        bank: what is kept.
    """

    def __init__(self, name: str, plan: Plan, room: Room) -> None:
        self.name = name
        self.plan = plan
        self.bank = FrameBank(room, plan.device)

    @property
    def num_latents(self) -> int:
        """How many latents the world has had, kept or not."""
        return self.bank.num_latents

    @property
    def num_bytes(self) -> int:
        """The memory that is taken."""
        return self.bank.num_bytes

    def remember(self, latents: Tensor, views: Views) -> None:
        """Take in the next latents [1, C, T, h, w] with their T cameras.

        Raises:
            ValueError: they do not fit together, or are not like those before.
        """
        for clip in self.bank.cut(latents, views):
            self.bank.add(clip)

    def last(self, count: int) -> Tensor:
        """The newest latents [1, C, count or fewer, h, w].

        Raises:
            ValueError: there are none yet, or none is asked for.
        """
        return self.bank.last(count)

    def state(self) -> MemoryState:
        """All that `restore` needs."""
        clips = tuple(clip.start for clip in self.bank.clips)
        head = Head(policy=self.name, num_latents=self.num_latents, clips=clips)
        return MemoryState(head=head.encode(), parts=self.bank.parts())

    def restore(self, state: MemoryState) -> None:
        """Become the memory that `state` came from.

        Raises:
            ValueError: it is not the state of such a memory; this one is as it was then.
        """
        head = read_head(state.head, self.name)
        self.bank.load(head.num_latents, head.clips, state.parts)
