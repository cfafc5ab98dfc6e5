"""The latents of a walk that are kept: all of them at first, later those that tell most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.memory.clip import Clip, read_clip
from keepworld_runtime.memory.pose_distance import farthest_first, pose_distances
from keepworld_runtime.memory.retrieval import History
from keepworld_runtime.memory.views import Views


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """How much is kept.

    Attributes:
        capacity: latents in all.
        clip: latents that are kept and dropped together.
        pinned: the first latents, which are never dropped.
        recent: the newest latents, which are kept without a gap.
        length: how far a camera goes, in the model's units, to see something else as if it had turned by 45 degrees. Nothing
            says how deep a latent's picture is; the default is half the radius within which views are compared.
    """

    capacity: int
    clip: int = 4
    pinned: int = 4
    recent: int = 12
    length: float = 4.0

    def __post_init__(self) -> None:
        least = (
            self.pinned + self.recent + 2 * self.clip
        )  # a clip to choose, and one that has only just left the newest
        if self.capacity < least:
            raise ValueError(f"capacity must be at least {least} latents, got {self.capacity}")


class FrameBank:
    """Latents and cameras by number. Exact while there is room; then the clip that is most like the others in pose goes.

    Whatever is dropped leaves size and number of clips as they were, so neither grows, however long the walk.

    Attributes:
        room: how much is kept.
        clips: what is kept, oldest first.
        num_latents: how many latents there have been.
    """

    def __init__(self, room: Room, device: torch.device | str) -> None:
        self.room = room
        self.clips: list[Clip] = []
        self.num_latents = 0
        self._device = device

    @property
    def num_kept(self) -> int:
        """How many latents are kept."""
        return sum(len(clip) for clip in self.clips)

    @property
    def num_bytes(self) -> int:
        """The memory that is taken."""
        return sum(clip.num_bytes for clip in self.clips)

    def cut(self, latents: Tensor, views: Views) -> list[Clip]:
        """Make clips of the next latents [1, C, T, h, w] with their T cameras; the last may be short.

        Raises:
            ValueError: they do not fit together.
        """
        if latents.ndim != 5 or latents.shape[2] != len(views):
            raise ValueError(f"latents must be [1, C, {len(views)}, h, w], got {list(latents.shape)}")
        clips = []
        for at in range(0, len(views), self.room.clip):
            span = np.arange(at, min(at + self.room.clip, len(views)))
            # Copies both: nothing keeps the whole chunk alive, or can change what is kept.
            own = latents[:, :, at : at + len(span)].detach().to(self._device, copy=True)
            clips.append(Clip(self.num_latents + at, own, views[span]))
        return clips

    def add(self, clip: Clip) -> None:
        """Take in the next clip; what there is no room for goes.

        Raises:
            ValueError: it is of another size or precision than those before.
        """
        assert clip.start == self.num_latents, "clips follow each other"
        self._check_like(clip)
        self.clips.append(clip)
        self.num_latents = clip.end
        while self.num_kept > self.room.capacity:
            self.drop(self._most_redundant())

    def drop(self, clip: Clip) -> None:
        """Forget a clip."""
        self.clips.remove(clip)

    def is_recent(self, clip: Clip) -> bool:
        """Whether any of a clip is among the newest latents, which stay."""
        return clip.end > self.num_latents - self.room.recent

    def is_pinned(self, clip: Clip) -> bool:
        """Whether any of a clip is among the first latents, which stay."""
        return clip.start < self.room.pinned

    def history(self) -> History:
        """The clips, to choose from."""
        return History(
            starts=np.array([clip.start for clip in self.clips], np.int64),
            ends=np.array([clip.end for clip in self.clips], np.int64),
            probes=probes(self.clips),
        )

    def gather(self, indices: NDArray[np.int64]) -> tuple[Tensor, Views]:
        """The latents [1, C, M, h, w] of these numbers [M], ascending, with their cameras; all of them must be kept."""
        latents, views = [], []
        for clip in self.clips:
            inside = indices[(indices >= clip.start) & (indices < clip.end)] - clip.start
            if len(inside):
                latents.append(clip.latents[:, :, inside.tolist()])
                views.append(clip.views[inside])
        if not latents:
            return torch.empty((1, 0, 0, 0, 0), device=self._device), Views.none()
        seen = Views.join(views)
        assert len(seen) == len(indices), "only what is kept can be gathered"
        return torch.cat(latents, dim=2), seen

    def last(self, count: int) -> Tensor:
        """The newest latents [1, C, count, h, w]; fewer where there are no more without a gap.

        Raises:
            ValueError: none has been kept, or none is asked for.
        """
        if count < 1 or not self.clips:
            raise ValueError(f"count must be at least 1 and something be kept, got {count} of {self.num_kept}")
        first = self.num_latents
        for clip in reversed(self.clips):
            if clip.end != first:
                break
            first = clip.start
        return self.gather(np.arange(max(first, self.num_latents - count), self.num_latents))[0]

    def parts(self) -> dict[str, bytes]:
        """What is kept, as bytes that never change under their name."""
        return {clip.name: clip.part for clip in self.clips}

    def load(self, num_latents: int, starts: Sequence[int], parts: Mapping[str, bytes]) -> None:
        """Become the bank that had so many latents and kept the clips that start there.

        Raises:
            ValueError: such a bank cannot be; this one is as it was then.
        """
        before, self.clips, self.num_latents = (self.clips, self.num_latents), [], 0
        try:
            for start in starts:
                name = f"latents/{start:06d}"
                if name not in parts:
                    raise ValueError(f"part {name} must be there, got {len(parts)} others")
                clip = read_clip(start, parts[name], self._device)
                if start < self.num_latents or len(clip) > self.room.clip:
                    raise ValueError(
                        f"the clip at latent {start} must be a new one of at most {self.room.clip} latents"
                    )
                self._check_like(clip)
                self.clips.append(clip)
                self.num_latents = clip.end
            if self.num_latents != num_latents or self.num_kept > self.room.capacity:
                came = f"{self.num_kept} latents up to number {self.num_latents}"
                raise ValueError(
                    f"at most {self.room.capacity} latents up to number {num_latents} must be kept, got {came}"
                )
            self._check_whole(min(self.room.pinned, num_latents), max(0, num_latents - self.room.recent))
        except ValueError:
            self.clips, self.num_latents = before
            raise

    def _check_whole(self, pinned: int, recent: int) -> None:
        """Refuse a bank that has lost some of the first `pinned` latents or of those from number `recent` on."""
        kept = self.history().indices(np.ones(len(self.clips), np.bool_))
        lost = (set(range(pinned)) | set(range(recent, self.num_latents))) - kept
        if lost:
            raise ValueError(f"the first and the newest latents must be kept, latent {min(lost)} is not")

    def _check_like(self, clip: Clip) -> None:
        """Refuse a clip whose latents are of another size or precision than those before."""
        if not self.clips:
            return
        first, new = self.clips[0].latents, clip.latents
        if (first.shape[1], *first.shape[3:], first.dtype) != (new.shape[1], *new.shape[3:], new.dtype):
            wanted = f"{first.dtype} [1, {first.shape[1]}, n, {first.shape[3]}, {first.shape[4]}]"
            raise ValueError(f"latents must be {wanted} as those before, got {new.dtype} {list(new.shape)}")

    def _most_redundant(self) -> Clip:
        """The clip, of those that may go, whose cameras are nearest to others that stay; of equals the newest."""
        staying = [n for n, clip in enumerate(self.clips) if self.is_recent(clip) or self.is_pinned(clip)]
        order = farthest_first(clip_distances(self.clips, self.room.length), np.array(staying, np.int64))
        return self.clips[int(order[-1])]


def probes(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """The two views [N, 2, 4, 4] that speak for each clip: its first latent's and its third's, or its last's."""
    pairs = [clip.views.viewmats[[0, min(2, len(clip) - 1)]] for clip in clips]
    return np.stack(pairs) if pairs else np.empty((0, 2, 4, 4))


def clip_distances(clips: Sequence[Clip], length: float) -> NDArray[np.float64]:
    """How far apart the cameras of clips are, [N, N]: the mean of `pose_distances` over the views that speak for them."""
    first, third = np.moveaxis(probes(clips), 1, 0)
    return (pose_distances(first, first, length) + pose_distances(third, third, length)) / 2
