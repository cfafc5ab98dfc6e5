"""Weights that are on the device only while they are used: less memory there, more time.

`Lodger` is for a network that is needed now and then, as an encoder of prompts is. `StreamedBlocks` is for one whose blocks
run one after another: the next is on its way while one runs, so that two are on the device at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class _Luggage:
    """The weights of a module, at home on the CPU, and whether a copy of them is on the device.

    At home they stay unchanged, so nothing is copied back. Home is pinned if the device is a GPU: then a copy to it can be
    made while the GPU computes.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        self._slots: list[tuple[Tensor, Tensor]] = []  # what the module uses, and the same at home
        for tensor in (*module.parameters(), *module.buffers()):
            home = tensor.detach().cpu()
            if device.type == "cuda":
                home = home.pin_memory()
            tensor.data = home
            self._slots.append((tensor, home))
        self.is_there = False

    @property
    def num_bytes(self) -> int:
        return sum(home.numel() * home.element_size() for _, home in self._slots)

    def bring(self) -> None:
        for tensor, home in self._slots:
            tensor.data = torch.empty_like(home, device=self._device).copy_(home, non_blocking=True)
        self.is_there = True

    def take_away(self) -> None:
        for tensor, home in self._slots:
            tensor.data = home
        self.is_there = False

    def recorded(self, stream: torch.cuda.Stream) -> None:
        """Tell the allocator that `stream` uses the copies, which another stream made."""
        for tensor, _ in self._slots:
            tensor.data.record_stream(stream)


class Lodger(Generic[ModuleT]):
    """A module that is on a device while someone uses it.

    Args:
        module: on the CPU, or on the device already if it stays.
        device: where it is used.
        stays: whether it is there for good: then coming and going cost nothing.
    """

    def __init__(self, module: ModuleT, device: torch.device | str, *, stays: bool) -> None:
        self._module = module
        self._luggage = None if stays else _Luggage(module, torch.device(device))
        self._lock = threading.Lock()
        self._guests = 0
        self.device = torch.device(device)

    @property
    def resident_bytes(self) -> int:
        """Of copies on the device, beside those at home."""
        return self._luggage.num_bytes if self._luggage and self._luggage.is_there else 0

    @contextmanager
    def there(self) -> Iterator[ModuleT]:
        """The module, on its device until the block ends; several threads may be in such blocks at a time."""
        with self._lock:
            self._guests += 1
            if self._luggage and not self._luggage.is_there:
                self._luggage.bring()
        try:
            yield self._module
        finally:
            with self._lock:
                self._guests -= 1
                if self._luggage and not self._guests:
                    self._luggage.take_away()


class StreamedBlocks(nn.ModuleList):
    """Blocks that are on the device from shortly before they are used until they have been.

    It stands in for the list of blocks of a network that goes through it with ``for``: each turn has its block on the
    device, and the next one on its way. Breaking off is fine, and so are several threads. Looking at a block by its number
    gives it as it is, which may be at home.

    Args:
        blocks: on the CPU.
        device: where they are used.
    """

    def __init__(self, blocks: nn.ModuleList, device: torch.device | str) -> None:
        super().__init__(blocks)
        self._device = torch.device(device)
        self._luggage = [_Luggage(block, self._device) for block in blocks]
        self._guests = [0] * len(blocks)
        self._lock = threading.Lock()
        is_gpu = self._device.type == "cuda"
        self._carrier = torch.cuda.Stream(self._device) if is_gpu else None
        self._arrivals: list[torch.cuda.Event | None] = [None] * len(blocks)

    @property
    def resident_bytes(self) -> int:
        """Of copies on the device now."""
        return sum(each.num_bytes for each in self._luggage if each.is_there)

    def __iter__(self) -> Iterator[nn.Module]:
        coming: list[int] = []
        try:
            for number in range(len(self)):
                for wanted in (number, number + 1):
                    if wanted < len(self) and wanted not in coming:
                        self._invite(wanted)
                        coming.append(wanted)
                self._await(number)
                yield self[number]
                self._dismiss(coming.pop(0))
        finally:
            for number in coming:
                self._dismiss(number)

    def _invite(self, number: int) -> None:
        """Have a block brought, after what the device was told to do with the memory it will take."""
        with self._lock:
            self._guests[number] += 1
            if self._luggage[number].is_there:
                return
            if self._carrier is None:
                self._luggage[number].bring()
                return
            with torch.cuda.stream(self._carrier):
                self._luggage[number].bring()
                arrival = torch.cuda.Event()
                arrival.record(self._carrier)
            self._arrivals[number] = arrival

    def _await(self, number: int) -> None:
        """Let the stream at work wait for a block, without holding up the host."""
        with self._lock:
            arrival = self._arrivals[number]
            if arrival is not None:
                stream = torch.cuda.current_stream(self._device)
                stream.wait_event(arrival)
                self._luggage[number].recorded(stream)

    def _dismiss(self, number: int) -> None:
        with self._lock:
            self._guests[number] -= 1
            if not self._guests[number]:
                self._luggage[number].take_away()
                self._arrivals[number] = None


def keep_beside(network: nn.Module, device: torch.device | str) -> None:
    """Move all of a network to a device for good, but for its `StreamedBlocks`."""
    for module in network.children():
        if not isinstance(module, StreamedBlocks):
            module.to(device)
    for tensor in (*network.parameters(recurse=False), *network.buffers(recurse=False)):
        tensor.data = tensor.data.to(device)
