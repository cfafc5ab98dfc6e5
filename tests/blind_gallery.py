"""The `gallery` as a learned world would be: no depth, no labels, and cameras that are those that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keepworld.camera import PoseSource
from keepworld_runtime.families.family import ChunkRequest, Family, FamilyOptions, FrameData, Place, WorldSpec

from tests.gallery import GalleryFamily, GalleryWorld


class BlindFamily(GalleryFamily):
    capabilities = replace(
        GalleryFamily.capabilities, name="blind-gallery", has_depth=False, pose_source=PoseSource.COMMANDED
    )

    def load(self, place: Place) -> BlindModel:
        return BlindModel()


def family(options: FamilyOptions) -> Family:
    return BlindFamily()


class BlindModel:
    def open(self, spec: WorldSpec) -> BlindWorld:
        return BlindWorld(spec)


class BlindWorld(GalleryWorld):
    def next_chunk(self, request: ChunkRequest) -> Iterator[FrameData]:
        for frame in super().next_chunk(request):
            yield replace(frame, depth=None, labels=None)
