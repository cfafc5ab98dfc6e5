"""One session's world of a latent family: chunks of frames, and what it takes to go on from any of them.

What is fixed by (spec, state): the noise of a latent comes from the seed and its number, the context from what is
remembered, the prompt from the opening and the events. The decoder's cache is not kept: it is brought up to date from the
newest latents, as many as it takes for every bit of it to be the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from keepworld.camera import check_rigid
from numpy.typing import NDArray
from torch import Tensor

from keepworld_runtime.families.family import (
    BrokenChunkError,
    Capabilities,
    ChunkRequest,
    Clip,
    Continuation,
    Event,
    FrameData,
    Surface,
    WorldSpec,
    WorldState,
)
from keepworld_runtime.families.latent.actions import actions_of
from keepworld_runtime.families.latent.clip import LatentClip, encode_clip, placed
from keepworld_runtime.families.latent.denoiser import ChunkInput
from keepworld_runtime.families.latent.draws import Draws
from keepworld_runtime.families.latent.prompts import MAX_AT_ONCE, PromptTimeline
from keepworld_runtime.families.latent.shelf import Shelf
from keepworld_runtime.families.latent.walk import latent_cameras, walked
from keepworld_runtime.layers.vae import DecoderState, VideoVAE, history_latents
from keepworld_runtime.memory.context import ContextMemory, MemoryState
from keepworld_runtime.memory.views import Views

Floats = NDArray[np.float64]
PromptT = TypeVar("PromptT")

_PROMPTS_KEPT = MAX_AT_ONCE + 2  # those at work, and two that are prepared for what comes next
_BLACK = 3  # of 255: a frame without a brighter pixel shows nothing


class Dreamer(Protocol[PromptT]):
    """A network, its sampler and its encoders, for one world."""

    def prompt(self, text: str) -> PromptT:
        """Make of a text what denoising needs of it; on any thread."""
        ...

    def denoise(self, chunk: ChunkInput[PromptT]) -> Tensor:
        """Make the latents [1, C, T, h, w] of a chunk; see `Denoiser`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Dream(Generic[PromptT]):
    """What a world is made with.

    Attributes:
        dreamer: makes latents.
        vae: between latents and frames.
        memory: what is kept of the past.
        draws: where its noise comes from.
        K: [3, 3] normalised intrinsics of every frame.
        image: [1, C, 1, h, w], the latent of the picture that the world begins with, or None.
        clip: what it goes on from, or None.
    """

    dreamer: Dreamer[PromptT]
    vae: VideoVAE
    memory: ContextMemory
    draws: Draws
    K: Floats
    image: Tensor | None
    clip: LatentClip | None


class LatentWorld(Generic[PromptT]):
    """A `keepworld_runtime.families.family.World`.

    Args:
        spec: what the session asked for.
        capabilities: of the family; of a world with a clip, with as many frames in chunk 0 as in every other.
        dream: what it is made with.
    """

    def __init__(self, spec: WorldSpec, capabilities: Capabilities, dream: Dream[PromptT]) -> None:
        self._spec, self._capabilities, self._dream = spec, capabilities, dream
        self._prompts = Shelf(torch.inference_mode()(dream.dreamer.prompt), _PROMPTS_KEPT)
        self._chunks = 0
        self._c2w: Floats | None = None  # of the last frame; None: nothing has been seen yet
        self._origin: Floats | None = None  # of the first
        self._last_viewmat: Floats | None = None  # of the last latent, from the origin
        self._timeline = PromptTimeline(spec.prompt)
        self._decoder: DecoderState | None = None
        self._decoded_from = (
            0  # the latent that decoding began with: what a clip shows does not follow from what was before
        )

    def prepare(self, event: Event) -> None:
        """Have the text that `event` leads to ready; see `World`."""
        self._prompts.get(self._timeline.with_event(event, self._time_s(self._chunks)).newest_text())

    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        """Dream a chunk; see `World`.

        Raises:
            ValueError: it is not the next chunk, has too few or too many controls, a pose is not rigid, or what it shall go on
                from is no clip, or too short.
            BrokenChunkError: latents or frames are not numbers, or black.
        """
        self._check(request)
        return self._dreamt(request) if request.continuation is None else self._gone_on(request, request.continuation)

    def _gone_on(self, request: ChunkRequest, continuation: Continuation) -> Iterator[FrameData]:
        """The next chunk, after a clip has been seen; both, or neither."""
        if not isinstance(continuation, Clip):
            raise ValueError(f"a latent world goes on from a clip, not from a {type(continuation).__name__.lower()}")
        before = self.state()
        is_whole = False
        try:
            self._see(continuation)
            yield from self._dreamt(request)
            is_whole = True
        finally:
            if not is_whole:
                self.restore(before)

    @torch.inference_mode()
    def _see(self, clip: Clip) -> None:
        """Take in frames as if they had been dreamt after the newest, encoded by themselves, as a world's first are."""
        self._begin()
        if clip.is_from_here or clip.c2ws is None:
            clip = placed(clip, np.eye(4) if self._c2w is None else self._c2w)
        told = self._capabilities
        size, later = (self._spec.width, self._spec.height), told.chunk_frames
        seen = encode_clip(clip, self._dream.vae, size, first_frames=later - told.group_frames + 1, chunk_frames=later)
        self._decoded_from, self._decoder = self._dream.memory.num_latents, None
        self._take_in(seen)

    @torch.inference_mode()
    def _dreamt(self, request: ChunkRequest) -> Iterator[FrameData]:
        decoder = self._up_to_date()
        is_first = self._c2w is None
        timeline = self._timeline
        for event in request.events:
            timeline = timeline.with_event(event, self._time_s(request.chunk))
        here = np.eye(4) if self._c2w is None else self._c2w
        cameras = walked(here, request.controls, request.poses, mode=self._spec.mode, is_first=is_first)
        origin = cameras[0] if self._origin is None else self._origin
        views = self._views(latent_cameras(cameras, is_first=is_first), origin)
        latents = self._latents(views, timeline, request)
        index = 0
        for latent in latents.split(1, dim=2):
            frames, decoder = self._dream.vae.decode(latent, decoder)
            for image in _pixels(frames, request.chunk):
                yield self._frame(index, image, cameras[index])
                index += 1
        self._dream.memory.remember(latents, views)
        self._decoder, self._c2w, self._origin = decoder, cameras[-1], origin
        self._last_viewmat = views.viewmats[-1]
        self._chunks += 1
        self._timeline = timeline.forgetting(self._time_s(self._chunks))

    def _up_to_date(self) -> DecoderState:
        """The decoder's cache after the last latent."""
        memory, vae = self._dream.memory, self._dream.vae
        if self._decoder is not None:
            return self._decoder
        self._begin()
        decoder = vae.initial_state()
        if memory.num_latents:
            count = min(history_latents(vae), memory.num_latents - self._decoded_from)
            for latent in memory.last(count).split(1, dim=2):
                _, decoder = vae.decode(latent, decoder)
        return decoder

    def _begin(self) -> None:
        """Before anything else, take in the clip that the world was opened from."""
        if self._dream.clip is not None and self._dream.memory.num_latents == 0:
            self._take_in(self._dream.clip)

    def _take_in(self, clip: LatentClip) -> None:
        if self._origin is None:
            self._origin = clip.c2ws[0]
        self._c2w = clip.c2ws[-1]
        self._last_viewmat = None  # nobody moved from where the camera was to where the clip begins
        views = self._views(clip.c2ws, self._origin)
        self._last_viewmat = views.viewmats[-1]
        size = self._latents_in(1)
        for start in range(0, len(views), size):
            part = slice(start, start + size)
            self._dream.memory.remember(clip.latents[:, :, part], views[part])

    def _latents(self, views: Views, timeline: PromptTimeline, request: ChunkRequest) -> Tensor:
        memory, dream = self._dream.memory, self._dream
        middle_s = self._time_s(request.chunk) + len(request.controls) / self._capabilities.fps / 2
        latents = dream.dreamer.denoise(
            ChunkInput(
                start=memory.num_latents,
                noise=dream.draws.noise(memory.num_latents, len(views)),
                views=views,
                context=memory.select(views),
                prompts=tuple((self._prompts.get(text), weight) for text, weight in timeline.texts_at(middle_s)),
                image=dream.image,
            )
        )
        if not bool(latents.isfinite().all()):
            raise BrokenChunkError(f"chunk {request.chunk} came out as not-a-number")
        return latents

    def _views(self, c2ws: Floats, origin: Floats) -> Views:
        viewmats = np.linalg.inv(c2ws) @ origin
        before = viewmats[:1] if self._last_viewmat is None else self._last_viewmat[None]
        return Views(
            viewmats=viewmats,
            Ks=np.repeat(self._dream.K[None], len(c2ws), axis=0),
            actions=actions_of(np.concatenate([before, viewmats]))[1:],
        )

    def _frame(self, index: int, image: NDArray[np.uint8], c2w: Floats) -> FrameData:
        K = self._dream.K * np.array([[self._spec.width], [self._spec.height], [1.0]])
        return FrameData(index=index, c2w=c2w.copy(), K=K, image=image, depth=None, labels=None, confidence=None)

    def _check(self, request: ChunkRequest) -> None:
        wanted = self._capabilities.frames_in(self._chunks)
        if request.chunk != self._chunks:
            raise ValueError(f"the next chunk is {self._chunks}, got {request.chunk}")
        if not len(request.controls) == len(request.poses) == wanted:
            came = f"{len(request.controls)} and {len(request.poses)}"
            raise ValueError(f"controls and poses must be {wanted} each in chunk {request.chunk}, got {came}")
        if request.continuation and self._chunks == 0 and wanted < self._capabilities.chunk_frames:
            raise ValueError("a world of which nothing has been seen is opened from a clip")
        for pose in request.poses:
            if pose is not None:
                check_rigid("pose", pose)

    def _time_s(self, chunk: int) -> float:
        return self._capabilities.first_frame_of(chunk) / self._capabilities.fps

    def _latents_in(self, chunk: int) -> int:
        return self._capabilities.frames_in(chunk) // self._capabilities.group_frames

    def surface(self) -> Surface | None:
        """None: what a model dreams has no true surface."""
        return None

    def state(self) -> WorldState:
        """Cameras, events and what is remembered; the latents themselves as parts."""
        memory = self._dream.memory.state()
        head: dict[str, Any] = {
            "chunks": self._chunks,
            "c2w": _listed(self._c2w),
            "origin": _listed(self._origin),
            "last_viewmat": _listed(self._last_viewmat),
            "events": [{"start_s": entry.start_s, **asdict(entry.event)} for entry in self._timeline.entries],
            "memory": base64.b64encode(memory.head).decode(),
        }
        if self._decoded_from:
            head["decoded_from"] = self._decoded_from
        return WorldState(head=json.dumps(head, separators=(",", ":")).encode(), parts=memory.parts)

    def restore(self, state: WorldState) -> None:
        """Go back, or on, to where `state` was taken; see `World`.

        Raises:
            ValueError: it is not the state of such a world.
        """
        try:
            told = json.loads(state.head)
            chunks, decoded_from = int(told["chunks"]), int(told.get("decoded_from", 0))
            c2w, origin, last_viewmat = (_matrix(told[name]) for name in ("c2w", "origin", "last_viewmat"))
            timeline = PromptTimeline(self._spec.prompt)
            for row in told["events"]:
                event = Event(text=str(row["text"]), ramp_s=row["ramp_s"], duration_s=row["duration_s"])
                timeline = timeline.with_event(event, float(row["start_s"]))
            memory = MemoryState(head=base64.b64decode(told["memory"], validate=True), parts=state.parts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the state of a latent world: {error}") from error
        if (
            chunks < 0
            or (chunks > 0 and c2w is None)
            or len({each is None for each in (c2w, origin, last_viewmat)}) > 1
            or decoded_from < 0
        ):
            raise ValueError("not the state of a latent world: its chunks and cameras do not fit together")
        self._dream.memory.restore(memory)
        if decoded_from and decoded_from >= self._dream.memory.num_latents:
            raise ValueError("not the state of a latent world: nothing has been decoded of what it went on from")
        self._chunks, self._timeline, self._decoder, self._decoded_from = chunks, timeline, None, decoded_from
        self._c2w, self._origin, self._last_viewmat = c2w, origin, last_viewmat


def _pixels(frames: Tensor, chunk: int) -> Sequence[NDArray[np.uint8]]:
    """Frames [1, 3, F, H, W] in [-1, 1] as pictures [H, W, 3] uint8.

    Raises:
        BrokenChunkError: there is nothing to be seen.
    """
    if not bool(frames.isfinite().all()):
        raise BrokenChunkError(f"frames of chunk {chunk} came out as not-a-number")
    scaled = ((frames[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pictures: NDArray[np.uint8] = scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()
    if pictures.max() <= _BLACK:
        raise BrokenChunkError(f"frames of chunk {chunk} came out black")
    return list(pictures)


def _listed(matrix: Floats | None) -> list[float] | None:
    return None if matrix is None else matrix.ravel().tolist()


def _matrix(numbers: Any) -> Floats | None:
    """A camera [4, 4] out of a state's list of 16 numbers."""
    if numbers is None:
        return None
    matrix = np.array(numbers, np.float64).reshape(4, 4)
    check_rigid("camera", matrix)
    return matrix
