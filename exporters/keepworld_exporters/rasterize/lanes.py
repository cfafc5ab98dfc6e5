"""Sixteen float32 numbers at once, as one value of compiled code: what a processor's vector unit adds and multiplies.

Compilers find such instructions in some loops and not in others that look the same; here they are asked for. LLVM makes them
one instruction, or two, or four, or sixteen, as the processor can.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
_FLOATS, _INTS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_FAST = ("contract", "nsz")


class _Lanes(types.Type):
    """Sixteen numbers."""

    def __init__(self) -> None:
        super().__init__(name="lanes")


class _Choices(types.Type):
    """Sixteen answers."""

    def __init__(self) -> None:
        super().__init__(name="choices")


lanes, choices = _Lanes(), _Choices()
# The arguments that a caller gives are one fewer than numba's stubs know of.
_instruction = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", intrinsic)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


@register_model(_Choices)
class _ChoicesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _BITS)


def _spread(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """A number in all lanes."""
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INTS, [0] * LANES))


def _constant(number: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [number] * LANES)


def _operator(
    function: object, result: types.Type, build: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]
) -> None:
    """Let an operator take lanes on either side, or a number on one."""
    operand = choices if function is operator.and_ else lanes
    cases = (
        [(operand, operand)] if operand is choices else [(lanes, lanes), (lanes, types.float32), (types.float32, lanes)]
    )

    class Template(ConcreteTemplate):
        cases: list[object]

    Template.cases = [signature(result, *case) for case in cases]
    infer_global(function)(Template)

    def lower(_context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        left, right = (
            _spread(builder, value) if kind == types.float32 else value
            for value, kind in zip(args, sig.args, strict=True)
        )
        return build(builder, left, right)

    for case in cases:
        lower_builtin(function, *case)(lower)


_operator(operator.add, lanes, lambda builder, a, b: builder.fadd(a, b, flags=_FAST))
_operator(operator.sub, lanes, lambda builder, a, b: builder.fsub(a, b, flags=_FAST))
_operator(operator.mul, lanes, lambda builder, a, b: builder.fmul(a, b, flags=_FAST))
_operator(operator.truediv, lanes, lambda builder, a, b: builder.fdiv(a, b, flags=_FAST))
_operator(operator.ge, choices, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))
_operator(operator.gt, choices, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_operator(operator.le, choices, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
_operator(operator.and_, choices, lambda builder, a, b: builder.and_(a, b))


@_instruction
def spread(_typing: Any, number: Any) -> Any:
    """A number in all lanes."""
    return lanes(types.float32), lambda context, builder, sig, args: _spread(builder, args[0])


@_instruction
def load(_typing: Any, array: Any, start: Any) -> Any:
    """Sixteen numbers of a contiguous float32 array."""

    def build(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.load(_place(context, builder, sig, args), align=4)

    return lanes(array, types.int64), build


@_instruction
def store(_typing: Any, array: Any, start: Any, values: Any) -> Any:
    """Write sixteen numbers into a contiguous float32 array."""

    def build(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        builder.store(args[2], _place(context, builder, sig, args), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), build


def _place(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), _FLOATS.as_pointer())


@_instruction
def choose(_typing: Any, where: Any, yes: Any, no: Any) -> Any:
    """The first where the answer is yes, else the second."""
    return lanes(choices, lanes, lanes), lambda context, builder, sig, args: builder.select(*args)


@_instruction
def any_of(_typing: Any, where: Any) -> Any:
    """Whether any answer is yes."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(choices), build


@_instruction
def total(_typing: Any, values: Any) -> Any:
    """The sum of all lanes, halves first."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        left, width = args[0], LANES
        while width > 1:
            width //= 2
            ends = (list(range(width)), list(range(width, 2 * width)))
            kind = ir.VectorType(ir.IntType(32), width)
            low, high = (builder.shuffle_vector(left, left, ir.Constant(kind, end)) for end in ends)
            left = builder.fadd(low, high)
        return builder.extract_element(left, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes), build


@_instruction
def exp2(_typing: Any, power: Any) -> Any:
    """2 ** x for x in [-100, 0], to the last bit or two of float32."""
    # Taylor's series of 2 ** f for |f| <= 1/2: the first term left out is below 2e-8.
    series = (
        1.5252733804059840e-5, 1.5403530393381610e-4, 1.3333558146428443e-3, 9.6181291076284772e-3, 5.5504108664821580e-2,
        2.4022650695910072e-1, 6.9314718055994531e-1, 1.0,
    )  # fmt: skip

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        whole = builder.fptosi(builder.fsub(args[0], _constant(0.5)), _INTS)
        rest = builder.fsub(args[0], builder.sitofp(whole, _FLOATS))
        value: ir.Value = _constant(series[0])
        for term in series[1:]:
            value = builder.fadd(builder.fmul(value, rest, flags=_FAST), _constant(term), flags=_FAST)
        exponent = builder.shl(builder.add(whole, ir.Constant(_INTS, [127] * LANES)), ir.Constant(_INTS, [23] * LANES))
        return builder.fmul(value, builder.bitcast(exponent, _FLOATS))

    return lanes(lanes), build


@_instruction
def least(_typing: Any, left: Any, right: Any) -> Any:
    """The smaller of each two."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return lanes(lanes, lanes), build


@_instruction
def most(_typing: Any, left: Any, right: Any) -> Any:
    """The larger of each two."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return lanes(lanes, lanes), build


@_instruction
def root(_typing: Any, values: Any) -> Any:
    """Square roots."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.sqrt.v16f32")
        return builder.call(function, args)

    return lanes(lanes), build


@_instruction
def bits(_typing: Any, where: Any) -> Any:
    """The answers as the bits of a number, the first lane's the lowest."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(choices), build


@_instruction
def lowest(_typing: Any, number: Any) -> Any:
    """The place of the lowest bit that is set, of one that has any."""

    def build(_context: Any, builder: ir.IRBuilder, _sig: Any, args: Any) -> ir.Value:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), build
