"""Weights in safetensors files: checked by their headers, mapped into memory, put straight to where they shall be.

A module is made on the meta device, which knows shapes and takes no memory. Headers say what a file holds without its
data being read, so what does not fit is told before anything is loaded. Each tensor then goes by itself from the mapped
file to its device and dtype: there is never a second copy of the whole, and on a CPU with the file's own dtype no first one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from keepworld_runtime.families.latent.recognise import recognised

Shape = tuple[int, ...]
Rename = Callable[[str], str | None]
ModuleT = TypeVar("ModuleT", bound=nn.Module)

_EXAMPLES = 6  # patterns shown of each kind of difference


class WeightsMismatchError(ValueError):
    """Weights are not those of the network they were given for; the message says which, and what they seem to be."""


class WeightFiles(Mapping[str, Tensor]):
    """The tensors of safetensors files, mapped into memory: looking at one reads nothing before its numbers are used.

    Args:
        files: as many as the weights are spread over.
        rename: what a tensor is called here by its name in the file; None leaves it out.

    Raises:
        ValueError: a file is no whole safetensors file, or two tensors have one name.
    """

    def __init__(self, files: Sequence[Path], rename: Rename = str) -> None:
        self.files = tuple(files)
        self.shapes: dict[str, Shape] = {}
        self._places: dict[str, tuple[safe_open, str]] = {}
        for path in self.files:
            file = _opened(path)
            for stored in file.keys():  # noqa: SIM118 - it is no mapping
                name = rename(stored)
                if name is None:
                    continue
                if name in self._places:
                    raise ValueError(f"{path} has {stored}, which is {name} a second time")
                self.shapes[name] = tuple(file.get_slice(stored).get_shape())
                self._places[name] = (file, stored)

    def __getitem__(self, name: str) -> Tensor:
        file, stored = self._places[name]
        tensor: Tensor = file.get_tensor(stored)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}; get it again") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModule(Generic[ModuleT]):
    """A network and the files of its weights.

    Attributes:
        what: it is, in messages.
        module: on the meta device, but for buffers that no file carries.
        weights: under the module's names.
    """

    what: str
    module: ModuleT
    weights: WeightFiles

    def check(self) -> None:
        """Compare names and shapes; reads the files' headers only.

        Raises:
            WeightsMismatchError: they differ.
        """
        check_weights(self.what, self.module, self.weights.shapes, self.weights.files)

    def load(self, device: torch.device | str, dtype: torch.dtype) -> ModuleT:
        """Put the weights in, on `device`, floating-point ones as `dtype`, for use and not for training.

        Raises:
            WeightsMismatchError: they are of another network.
        """
        self.check()
        loaded: dict[str, Tensor] = {}
        for name, tensor in self.weights.items():
            loaded[name] = tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        for names in _aliases(self.module):
            given = next(loaded[name] for name in names if name in loaded)
            loaded.update(dict.fromkeys(names, given))
        self.module.load_state_dict(loaded, assign=True)
        self.module.requires_grad_(False).eval()
        return self.module.to(device)


def check_weights(what: str, module: nn.Module, shapes: Mapping[str, Shape], files: Sequence[Path]) -> None:
    """Compare names and shapes of weights with a module's.

    Args:
        what: the module is, in messages.
        module: wants them; any one of the names of a shared parameter will do.
        shapes: of the weights.
        files: that they lie in, for messages.

    Raises:
        WeightsMismatchError: they differ.
    """
    found = dict(shapes)
    for names in _aliases(module):
        shape = next((found[name] for name in names if name in found), None)
        if shape is not None:
            found = {**dict.fromkeys(names, shape), **found}
    difference = differences(what, shapes_of(module), found)
    if difference:
        seems = recognised(shapes)
        hint = f"\n  These seem to be {seems}." if seems else ""
        raise WeightsMismatchError(f"{difference}{hint}\n  Looked at: {', '.join(map(str, files))}")


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """Names and shapes of what a module's file holds."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _aliases(module: nn.Module) -> list[list[str]]:
    """Names of parameters that are one and the same, such as embeddings shared by two layers; a file may have any of them."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [each for each in names.values() if len(each) > 1]


def differences(what: str, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """Say how weights differ from those wanted, like names told once with their number; "" if they do not."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    reshaped = [name for name in wanted if name in found and tuple(found[name]) != tuple(wanted[name])]
    if not (missing or unknown or reshaped):
        return ""
    lines = [f"the weights of {what} do not fit:"]
    for title, names in (("missing", missing), ("unknown", unknown)):
        if names:
            lines.append(f"  {title} {len(names)} ({len(wanted)} wanted, {len(found)} found): {_grouped(names)}")
    if reshaped:
        shown = [f"{name} is {list(found[name])}, wanted {list(wanted[name])}" for name in reshaped[: _EXAMPLES // 2]]
        more = f", … (of {_grouped(reshaped)})" if len(reshaped) > len(shown) else ""
        lines.append(f"  of another shape {len(reshaped)}: {'; '.join(shown)}{more}")
    return "\n".join(lines)


def _grouped(names: Sequence[str]) -> str:
    """Names with their numbers as N, each once and how often, the first few of them."""
    groups: dict[str, int] = {}
    for name in names:
        pattern = re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "N", name)
        groups[pattern] = groups.get(pattern, 0) + 1
    shown = [pattern if count == 1 else f"{pattern} ×{count}" for pattern, count in list(groups.items())[:_EXAMPLES]]
    rest = len(groups) - len(shown)
    return ", ".join(shown) + (f", and {rest} more" if rest else "")
