"""Products in 8 bits are those of rounded numbers, and near enough to the unrounded ones."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from keepworld_runtime.kernels.linear_fp8 import FP8Linear, quantised, to_fp8
from keepworld_runtime.kernels.reference import linear_e4m3, rounded_to_e4m3
from torch import Tensor, nn

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def _numbers_of_e4m3() -> list[float]:
    """Every finite number of the format, by its definition: sign, 4 bits of exponent with bias 7, 3 of mantissa."""
    numbers = [mantissa / 8 * 2.0**-6 for mantissa in range(8)]
    numbers += [
        (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        for exponent in range(1, 16)
        for mantissa in range(8)
        if (exponent, mantissa) != (15, 7)  # not-a-number
    ]
    return numbers


def test_rounding_gives_the_nearest_number_of_the_format():
    numbers = torch.tensor(_numbers_of_e4m3(), dtype=torch.float64)
    assert len(numbers) == 127
    assert numbers.max() == 448
    x = torch.randn(4000, dtype=torch.float32) * torch.logspace(-4, 3, 4000)
    nearest = (x.abs()[:, None] - numbers).abs().min(dim=1).values
    assert torch.equal((rounded_to_e4m3(x).double() - x.double()).abs(), nearest.where(nearest != 0, 0.0))


def test_torch_rounds_as_the_format_says():
    x = torch.randn(64, 48) * torch.logspace(-2, 2, 64)[:, None]
    rows, scale = quantised(x)
    assert torch.equal(rows.float(), rounded_to_e4m3(x / scale))
    assert rows.float().abs().amax(1).eq(448).all()


def test_a_row_of_nothing_stays_nothing():
    rows, scale = quantised(torch.zeros(2, 16))
    assert torch.equal(rows.float() * scale, torch.zeros(2, 16))


def _linear(bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(4)
    return nn.Linear(256, 128, bias=bias, dtype=dtype).requires_grad_(False)


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_8_bit_layer_is_the_product_of_rounded_numbers(bias, dtype):
    linear = _linear(bias, dtype)
    x = torch.randn(2, 5, 256, dtype=dtype)
    y = FP8Linear(linear)(x)
    assert y.shape == (2, 5, 128)
    assert y.dtype == dtype
    # what comes out is rounded to bfloat16, by up to 2^-9 of itself, and the bias has been before
    assert _distance(y, linear_e4m3(x, linear.weight, linear.bias)) < 2**-8


def test_rounding_to_8_bits_moves_a_product_by_less_than_five_hundredths():
    linear = _linear()
    x = torch.randn(512, 256)
    # each factor is off by 1/40 in the root mean square, so the product by √2/40 = 0.035
    assert 0.01 < _distance(FP8Linear(linear)(x), linear(x)) < 0.05


def _model() -> nn.Module:
    torch.manual_seed(4)
    model = nn.Module()
    model.blocks = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(32, 32), "mod": nn.Linear(32, 64)}) for _ in range(2))
    return model.requires_grad_(False)


def test_only_the_named_layers_are_replaced_and_it_is_told(caplog):
    model = _model()
    with caplog.at_level(logging.INFO):
        assert to_fp8(model, re.compile(r"blocks\.\d\.q").fullmatch) == 2
    assert "2 of the products with weights run in 8 bits by fp8" in caplog.text
    assert {name for name, layer in model.named_modules() if isinstance(layer, FP8Linear)} == {
        "blocks.0.q",
        "blocks.1.q",
    }
    weight = model.get_submodule("blocks.0.q").weight
    assert weight.element_size() == 1
    assert model.get_submodule("blocks.0.q")(torch.randn(3, 32)).shape == (3, 32)


def test_without_a_kernel_the_model_stays_as_it_is_and_it_is_told(caplog):
    model = _model()
    with caplog.at_level(logging.INFO):
        assert to_fp8(model, re.compile(r".*q").fullmatch, ("transformer-engine",)) == 0
    assert "transformer-engine is not installed; products with weights run in the model's own precision" in caplog.text
    assert isinstance(model.get_submodule("blocks.0.q"), nn.Linear)


def test_kernels_for_other_things_change_nothing():
    assert to_fp8(_model(), re.compile(r".*q").fullmatch, ("flash-attn",)) == 0


@pytest.mark.parametrize(
    ("sizes", "which", "preferred", "told"),
    [
        ((32, 40), r".*", ("fp8",), r"multiples of 16 for 8 bits, 0 is 32 × 40"),
        ((32, 32), r"nothing", ("fp8",), r"which must name some"),
        ((32, 32), r".*", ("fp4",), r"kernels must be of .*, got 'fp4'"),
    ],
)
def test_what_cannot_be_replaced_is_refused(sizes, which, preferred, told):
    with pytest.raises(ValueError, match=told):
        to_fp8(nn.Sequential(nn.Linear(*sizes)), re.compile(which).fullmatch, preferred)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kernel", ["fp8", "transformer-engine"])
def test_on_a_gpu_8_bits_move_a_product_by_less_than_five_hundredths(kernel):
    model = nn.Sequential(_linear(dtype=torch.bfloat16).cuda())
    linear, x = model[0], torch.randn(37, 256, device="cuda", dtype=torch.bfloat16)
    if not to_fp8(model, re.compile("0").fullmatch, (kernel,)):
        pytest.skip(f"{kernel} does not run here")
    assert _distance(model(x), linear(x)) < 0.05
