"""LPIPS against its definition written out, and where its weights are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from keepworld.errors import ExportError
from keepworld_exporters import perceptual
from keepworld_exporters.perceptual import ALEXNET, LAYERS, Lpips, installed_lpips
from numpy.typing import NDArray
from scipy.signal import correlate

torch = pytest.importorskip("torch")

Weights = dict[str, "torch.Tensor"]


def random_weights(seed: int = 0) -> tuple[Weights, Weights]:
    """Of the shapes the published ones have."""
    made = torch.Generator().manual_seed(seed)
    alexnet, linear, channels = {}, {}, 3
    for k, ((name, _, _, wide), side) in enumerate(zip(LAYERS, (11, 5, 3, 3, 3), strict=True)):
        spread = (channels * side * side) ** -0.5
        alexnet[f"features.{name}.weight"] = spread * torch.randn(wide, channels, side, side, generator=made)
        alexnet[f"features.{name}.bias"] = 0.1 * torch.randn(wide, generator=made)
        linear[f"lin{k}.model.1.weight"] = torch.rand(1, wide, 1, 1, generator=made)
        channels = wide
    return alexnet, linear


def written_out(image: NDArray[np.float64], truth: NDArray[np.float64], alexnet: Weights, linear: Weights) -> float:
    """LPIPS in float64, a channel at a time: AlexNet as Krizhevsky 2014 has it, distances as Zhang et al. 2018."""
    mean, spread = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, y = (((2 * one - 1 - mean) / spread).transpose(2, 0, 1) for one in (image, truth))
    total = 0.0
    for k, (name, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        kernels = alexnet[f"features.{name}.weight"].double().numpy()
        bias = alexnet[f"features.{name}.bias"].double().numpy()
        after = []
        for seen in (x, y):
            if k in (1, 2):
                windows = np.lib.stride_tricks.sliding_window_view(seen, (3, 3), (1, 2))[:, ::2, ::2]
                seen = windows.max((3, 4))
            padded = np.pad(seen, ((0, 0), (padding, padding), (padding, padding)))
            out = np.stack([correlate(padded, kernel, "valid")[0, ::stride, ::stride] for kernel in kernels])
            after.append(np.maximum(out + bias[:, None, None], 0))
        x, y = after
        a, b = (seen / (np.linalg.norm(seen, axis=0) + 1e-10) for seen in (x, y))
        counts = linear[f"lin{k}.model.1.weight"].double().numpy()[0]
        total += float((counts * (a - b) ** 2).sum(0).mean())
    return total


def test_it_is_what_its_paper_says() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((67, 80, 3))
    image = np.clip(truth + 0.1 * rng.standard_normal(truth.shape), 0, 1)
    weights = random_weights()
    distance = Lpips(*weights)(image, truth)
    assert distance == pytest.approx(written_out(image, truth, *weights), rel=1e-5)
    assert Lpips(*weights)(truth, truth) == 0


def test_it_is_there_only_where_both_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, hub = tmp_path / "site" / "lpips", tmp_path / "hub"
    (package / "weights" / "v0.1").mkdir(parents=True)
    (hub / "checkpoints").mkdir(parents=True)
    (package / "__init__.py").touch()
    alexnet, linear = random_weights()
    torch.save(linear, package / "weights" / "v0.1" / "alex.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.delitem(sys.modules, "lpips", raising=False)
    find = installed_lpips.__wrapped__
    assert find() is None
    torch.save(alexnet, hub / "checkpoints" / ALEXNET)
    with pytest.raises(ExportError, match="SHA-256"):
        find()  # other numbers than the published ones
    whole = perceptual.hashlib.sha256((hub / "checkpoints" / ALEXNET).read_bytes()).hexdigest()
    named = f"alexnet-owt-{whole[:8]}.pth"
    (hub / "checkpoints" / ALEXNET).rename(hub / "checkpoints" / named)
    monkeypatch.setattr(perceptual, "ALEXNET", named)
    found = find()
    assert found is not None
    assert found(np.zeros((64, 64, 3)), np.ones((64, 64, 3))) > 0


def test_weights_of_another_network_are_refused() -> None:
    alexnet, linear = random_weights()
    alexnet["features.3.weight"] = torch.zeros(192, 64, 3, 3)
    with pytest.raises(ExportError, match=r"features\.3\.weight must be \[192, 64, 5, 5\], got \[192, 64, 3, 3\]"):
        Lpips(alexnet, linear)
    del linear["lin0.model.1.weight"]
    with pytest.raises(ExportError, match=r"lin0"):
        Lpips(random_weights()[0], linear)
