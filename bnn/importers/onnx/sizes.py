# SPDX-License-Identifier: Apache-2.0
"""How large the results of each operator are, from its operands and attributes, before anything is computed.

A rule also refuses what ONNX Runtime does not check, and ends the process for.  An operator without a rule is not run.
Shapes are as ONNX defines them; after a run, they are compared with those of the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.limits import MOST_BYTES
from ..common.table import entering
from .call import Call, Shape, Spec
from .protos import OnnxNode

_MOST_EXACT = 2**53  # whole numbers that float64 has


@dataclass(frozen=True)
class Sized:
    """Shapes of the results, the last one for all that follow; ``dtype``: of the first, where its definition does not
    say; ``work``: bytes that are needed meanwhile."""

    shapes: Sequence[Shape]
    dtype: np.dtype[Any] | None = None
    work: int = 0


Rule = Callable[[Call], "Shape | Sized"]
RULES: dict[str, Rule] = {}
rule = entering(RULES)


def results(node: OnnxNode, operands: Sequence[Spec | None], opset: int) -> list[Spec]:
    """The named results of one of ONNX's own operators, in order.

    Raises:
        CompileError: the operator cannot be executed on these operands; UnsupportedOpError: a result, or what is needed
            to compute it, is too large.
    """
    call = Call(node, operands, opset)
    found = RULES[node.op](call)
    sized = found if isinstance(found, Sized) else Sized([found])
    shapes, specs = list(sized.shapes), []
    for k, name in enumerate(node.outputs):
        if name:
            dtype = call.result_type(k, sized.dtype if k == 0 else None)
            specs.append(Spec(shapes[min(k, len(shapes) - 1)], dtype))
    check_size(node, max(sized.work, *(s.bytes for s in specs)))
    return specs


def check_size(node: OnnxNode, size: int) -> None:
    if size > MOST_BYTES:
        raise node.unsupported(f"a result of {size:,} bytes; at most {MOST_BYTES:,} are made of one value")


def broadcast(call: Call, *shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise call.error(f"shapes {', '.join(map(str, shapes))} do not fit") from None


def _onto(call: Call, whole: Shape, other: Shape) -> Shape:
    """A shape that another one is broadcast to."""
    call.check(broadcast(call, whole, other) == whole, f"shape {other} does not fit {whole}")
    return whole


# -- elementwise ------------------------------------------------------------------------------------------------------


OF_ONE_OPERAND = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf",
    "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg",
    "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Tan", "Tanh", "ThresholdedRelu",
})  # fmt: skip


@rule(*OF_ONE_OPERAND)
def _same(c: Call) -> Shape:
    return c.shape(0)


@rule("Cast", "CastLike")
def _cast(c: Call) -> Sized:
    return Sized([c.shape(0)], c.element(c.whole("to", 0)) if c.op == "Cast" else c.spec(1).dtype)


@rule(
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
def _elementwise(c: Call) -> Shape:
    return broadcast(c, *(c.shape(i) for i in range(len(c.operands))))


@rule("Div", "Mod")
def _division(c: Call) -> Shape:
    """Whole numbers divided by 0, or the least one divided by -1, end the process."""
    value, below = c.spec(0).value, c.spec(1).value
    if below is not None and below.dtype.kind in "iu":
        c.check(bool((below != 0).all()), "it divides by 0")
        if value is not None and below.dtype.kind == "i":
            least = np.iinfo(value.dtype).min
            c.check(bool((below != -1).all() or (value != least).all()), f"it divides {least} by -1")
    return broadcast(c, c.shape(0), c.shape(1))


@rule("PRelu")
def _prelu(c: Call) -> Shape:
    return _onto(c, c.shape(0), c.shape(1))


@rule("Clip", "Dropout")
def _with_numbers(c: Call) -> Shape:
    for i in (1, 2):
        c.check(not c.has(i) or c.shape(i) in ((), (1,)), f"operand {i} is not one number")
    c.check(c.op == "Clip" or not c.has(2) or not c.number(2), "it is in training mode")
    return c.shape(0)


# -- norms and quantizers ---------------------------------------------------------------------------------------------


@rule("BatchNormalization")
def _batch_norm(c: Call) -> Sized:
    c.check(c.rank(0) >= 2, f"data of shape {c.shape(0)}")
    per_channel = c.shape(0)[1:2]
    for i in range(1, 5):
        c.check(c.shape(i) == per_channel, f"operand {i} has shape {c.shape(i)}; expected {per_channel}")
    return Sized([c.shape(0), per_channel])


@rule("InstanceNormalization")
def _instance_norm(c: Call) -> Shape:
    c.check(c.rank(0) >= 3 and 0 not in c.shape(0), f"data of shape {c.shape(0)}")
    for i in (1, 2):
        c.check(c.shape(i) == c.shape(0)[1:2], f"operand {i} has shape {c.shape(i)}")
    return c.shape(0)


@rule("LayerNormalization")
def _layer_norm(c: Call) -> Sized:
    shape = c.shape(0)
    axis = c.axis(c.whole("axis", -1), len(shape))
    c.check(c.whole("stash_type", 1) == 1 and 0 not in shape, f"data of shape {shape}, or stash_type is not 1")
    for i in range(1, len(c.operands)):
        if c.has(i):
            c.check(c.shape(i) == shape[axis:], f"operand {i} has shape {c.shape(i)}; expected {shape[axis:]}")
    return Sized([shape, (*shape[:axis], *[1] * (len(shape) - axis))])


@rule("QuantizeLinear", "DequantizeLinear")
def _quantized(c: Call) -> Sized:
    """One scale, or one per element of an axis."""
    shape, scale = c.shape(0), c.shape(1)
    c.check(not c.whole("block_size", 0), "scales of blocks are not read")
    if scale not in ((), (1,)):
        axis = c.axis(c.whole("axis", 1), len(shape))
        c.check(scale == shape[axis : axis + 1], f"scales of shape {scale} for axis {axis} of {shape}")
    one = ((), (1,))  # which may stand side by side: ONNX Runtime's quantizer writes biases so
    fits = not c.has(2) or c.shape(2) == scale or c.shape(2) in one and scale in one
    c.check(fits, "scales and zero points have different shapes")
    wanted = c.whole("output_dtype", 0)
    if c.op == "DequantizeLinear":
        return Sized([shape], c.element(wanted) if wanted else c.spec(1).dtype)
    zero = c.spec(2).dtype if c.has(2) else None
    found = c.element(wanted) if wanted else zero or np.dtype(np.uint8)
    c.check(zero in (None, found), f"zero points of type {zero} for numbers of type {found}")
    return Sized([shape], found)


# -- products and windows ---------------------------------------------------------------------------------------------


@rule("MatMul")
def _matmul(c: Call) -> Shape:
    a, b = c.shape(0), c.shape(1)
    c.check(bool(a and b), "an operand without dimensions")
    left, right = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    c.check(left[-1] == right[-2], f"shapes {a} and {b} do not fit")
    rows, columns = left[-2:-1] if len(a) > 1 else (), right[-1:] if len(b) > 1 else ()
    return (*broadcast(c, left[:-2], right[:-2]), *rows, *columns)


@rule("Gemm")
def _gemm(c: Call) -> Shape:
    c.check(c.rank(0) == c.rank(1) == 2, f"operands of shapes {c.shape(0)} and {c.shape(1)}; expected matrices")
    a = c.shape(0)[::-1] if c.flag("transA") else c.shape(0)
    b = c.shape(1)[::-1] if c.flag("transB") else c.shape(1)
    c.check(a[1] == b[0], f"shapes {a} and {b} do not fit")
    result = (a[0], b[1])
    return _onto(c, result, c.shape(2)) if c.has(2) else result


_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass(frozen=True)
class _Window:
    """A window over the spatial dimensions; ``reach``: the pixels from its first to its last, plus one."""

    sizes: Shape
    kernel: Shape
    strides: list[int]
    dilations: list[int]
    pads: list[int]  # those before and after, added
    auto: str

    @property
    def reach(self) -> list[int]:
        return [d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True)]


def _window(c: Call, kernel: Sequence[int] | None) -> _Window:
    """``kernel``: that of the weights, or None for an attribute alone."""
    spatial = c.shape(0)[2:]
    rank = len(spatial)
    c.check(rank >= 1 and 0 not in c.shape(0), f"data of shape {c.shape(0)}")
    given = c.ints("kernel_shape", rank, 1, 1) if kernel is None or c.attrs.get("kernel_shape") else list(kernel)
    c.check(kernel is None or list(kernel) == given and 0 not in given, f"a window {given} for weights of {kernel}")
    pads = c.ints("pads", 2 * rank, 0, 0)
    for i, size in enumerate(given):
        c.check(kernel is not None or max(pads[i], pads[rank + i]) < size, f"padding {pads} for windows {given}")
    return _Window(
        spatial, tuple(given), c.ints("strides", rank, 1, 1), c.ints("dilations", rank, 1, 1),
        [a + b for a, b in zip(pads[:rank], pads[rank:], strict=True)], c.choice("auto_pad", *_AUTO),
    )  # fmt: skip


def _places(c: Call, w: _Window, ceil: bool = False) -> Shape:
    """How many places the windows have."""
    found = []
    for i, (size, stride, reach) in enumerate(zip(w.sizes, w.strides, w.reach, strict=True)):
        if w.auto in ("SAME_UPPER", "SAME_LOWER"):
            found.append(-(-size // stride))
            continue
        room = size + (w.pads[i] if w.auto == "NOTSET" else 0) - reach
        c.check(room >= 0, f"windows that reach over {reach} pixels of {size + w.pads[i]}")
        count = room // stride + 1
        if ceil and room % stride:
            before = [int(v) for v in c.attrs.get("pads") or [0] * 2 * len(w.sizes)][i] if w.auto == "NOTSET" else 0
            count += (count * stride) < size + before  # a window that begins in the padding after is left out
        found.append(count)
    return tuple(found)


def _filters(c: Call, transposed: bool) -> tuple[int, Shape]:
    """Groups, and the kernel of the weights, whose channels fit."""
    data, w, groups = c.shape(0), c.shape(1), c.whole("group", 1)
    c.check(len(data) == len(w) >= 3, f"data of shape {data} and weights of shape {w}")
    c.check(1 <= groups <= 2**20 and 0 not in w, f"{groups} groups and weights of shape {w}")
    fits = data[1] == w[0] and w[0] % groups == 0 if transposed else data[1] == w[1] * groups and w[0] % groups == 0
    c.check(fits, f"data of shape {data}, weights of shape {w} and {groups} groups do not fit")
    outputs = w[1] * groups if transposed else w[0]
    c.check(not c.has(2) or c.shape(2) == (outputs,), f"a bias for {outputs} filters")
    return groups, w[2:]


@rule("Conv")
def _conv(c: Call) -> Sized:
    """Its windows are laid out beside each other, one group of one image at a time."""
    groups, kernel = _filters(c, transposed=False)
    places = _places(c, _window(c, kernel))
    work = c.shape(0)[1] // groups * math.prod(kernel) * math.prod(places) * c.spec(0).dtype.itemsize
    return Sized([(c.shape(0)[0], c.shape(1)[0], *places)], work=work)


@rule("ConvTranspose")
def _conv_transpose(c: Call) -> Sized:
    groups, kernel = _filters(c, transposed=True)
    w = _window(c, kernel)
    rank = len(kernel)
    more = c.ints("output_padding", rank, 0, 0)
    fits = all(m < max(s, d) for m, s, d in zip(more, w.strides, w.dilations, strict=True))
    c.check(fits, f"output_padding {more} for strides {w.strides} and dilations {w.dilations}")
    whole = [s * (n - 1) + m + r for s, n, m, r in zip(w.strides, w.sizes, more, w.reach, strict=True)]
    if c.attrs.get("output_shape"):
        sizes = c.ints("output_shape", rank, 1, 1)
        c.check(all(a <= b for a, b in zip(sizes, whole, strict=True)), f"output_shape {sizes}; at most {whole}")
    elif w.auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [min(s * n, all_of_it) for s, n, all_of_it in zip(w.strides, w.sizes, whole, strict=True)]
    else:
        sizes = [n - (p if w.auto == "NOTSET" else 0) for n, p in zip(whole, w.pads, strict=True)]
    c.check(min(sizes) >= 1, f"padding {w.pads} of {whole} pixels")
    work = c.shape(1)[1] * math.prod(kernel) * math.prod(w.sizes) * c.spec(0).dtype.itemsize
    return Sized([(c.shape(0)[0], c.shape(1)[1] * groups, *sizes)], work=work)


@rule("AveragePool", "MaxPool")
def _pool(c: Call) -> Shape:
    c.flag("count_include_pad")
    c.flag("storage_order")
    w = _window(c, None)
    c.check(not w.auto.startswith("SAME") or set(w.dilations) == {1}, f"dilations {w.dilations} and {w.auto}")
    return (*c.shape(0)[:2], *_places(c, w, c.flag("ceil_mode")))


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(c: Call) -> Shape:
    c.check(c.rank(0) >= 3 and 0 not in c.shape(0), f"data of shape {c.shape(0)}")
    return (*c.shape(0)[:2], *[1] * (c.rank(0) - 2))


# -- along axes -------------------------------------------------------------------------------------------------------


@rule("Hardmax", "LogSoftmax", "Softmax")
def _along(c: Call) -> Shape:
    c.axis(c.whole("axis", -1 if c.opset >= 13 else 1), c.rank(0))
    return c.shape(0)


@rule("CumSum")
def _cumsum(c: Call) -> Shape:
    c.flag("exclusive")
    c.flag("reverse")
    c.axis(c.number(1), c.rank(0))
    return c.shape(0)


def _reduced(c: Call, axes: Sequence[int], keep: bool) -> Shape:
    shape = c.shape(0)
    c.check(all(shape[a] for a in axes), f"nothing to reduce in shape {shape}")
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)


@rule("ArgMax", "ArgMin")
def _arg(c: Call) -> Shape:
    c.flag("select_last_index")
    return _reduced(c, [c.axis(c.whole("axis", 0), c.rank(0))], c.flag("keepdims", 1))


@rule(
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def _reduce(c: Call) -> Shape:
    given = c.either(1, "axes")
    keep, nothing = c.flag("keepdims", 1), c.flag("noop_with_empty_axes")
    if not given and nothing:
        return c.shape(0)
    return _reduced(c, c.axes(given, c.rank(0)) or range(c.rank(0)), keep)


@rule("TopK")
def _top(c: Call) -> Shape:
    c.flag("largest", 1)
    c.flag("sorted", 1)
    axis, count = c.axis(c.whole("axis", -1), c.rank(0)), c.number(1)
    c.check(c.rank(1) == 1, f"a number of shape {c.shape(1)}")
    c.check(0 <= count <= c.shape(0)[axis], f"the {count} largest of {c.shape(0)[axis]}")
    return _replaced(c.shape(0), axis, count)


def _replaced(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


@rule("Trilu")
def _trilu(c: Call) -> Shape:
    c.flag("upper", 1)
    c.check(c.rank(0) >= 2, f"data of shape {c.shape(0)}")
    c.check(not c.has(1) or abs(c.number(1)) <= 2**31, "k is out of range")
    return c.shape(0)


# -- made of numbers --------------------------------------------------------------------------------------------------


@rule("Shape", "Size")
def _shape(c: Call) -> Shape:
    return np.shape(extent(c))


def extent(c: Call) -> Any:
    """The result of Shape or Size."""
    if c.op == "Size":
        return np.array(math.prod(c.shape(0)), np.int64)
    end = c.attrs.get("end")
    return np.array(c.shape(0)[c.whole("start", 0) : None if end is None else int(end)], np.int64)


@rule("ConstantOfShape")
def _filled(c: Call) -> Sized:
    value = c.attrs.get("value")
    dtype = np.dtype(np.float32)
    if value is not None:
        dtype = c.element(value.data_type)
        c.check(list(value.dims) in ([], [1]), "its value is not one number")
    return Sized([_sizes(c, c.numbers(0))], dtype)


def _sizes(c: Call, sizes: Sequence[int]) -> Shape:
    c.check(all(n >= 0 for n in sizes), f"a negative size in {list(sizes)[:10]}")
    return tuple(sizes)


@rule("EyeLike")
def _eye(c: Call) -> Sized:
    c.check(c.rank(0) == 2, f"data of shape {c.shape(0)}")
    c.check(abs(c.whole("k", 0)) <= max(c.shape(0)), f"diagonal {c.whole('k', 0)} of shape {c.shape(0)}")
    return Sized([c.shape(0)], c.element(c.whole("dtype", 0)) if "dtype" in c.attrs else c.spec(0).dtype)


@rule("NonZero")
def _nonzero(c: Call) -> Shape:
    value = c.spec(0).value
    if value is None:
        raise c.error("the size of its result depends on its operand, which must be a constant of few numbers")
    return max(value.ndim, 1), int(np.count_nonzero(value))


@rule("OneHot")
def _one_hot(c: Call) -> Shape:
    rank, depth = c.rank(0), c.number(1)
    axis = c.whole("axis", -1)
    c.check(-rank - 1 <= axis <= rank, f"axis {axis} of {rank + 1} dimensions")
    c.check(math.isfinite(depth) and depth >= 1, f"a depth of {depth}")
    c.check(c.shape(2) == (2,), f"values of shape {c.shape(2)}; expected two")
    axis %= rank + 1
    return (*c.shape(0)[:axis], int(depth), *c.shape(0)[axis:])


@rule("Range")
def _range(c: Call) -> Shape:
    start, limit, delta = (c.number(i) for i in range(3))
    given = (start, limit, delta)
    c.check(all(math.isfinite(v) and abs(v) <= _MOST_EXACT for v in given) and delta != 0, f"a range of {given}")
    difference = float(np.subtract(limit, start, dtype=c.spec(0).dtype)) if isinstance(start, float) else limit - start
    return (max(math.ceil(difference / delta), 0),)


# -- moves ------------------------------------------------------------------------------------------------------------


@rule("Concat")
def _concat(c: Call) -> Shape:
    first = c.shape(0)
    axis = c.axis(c.whole("axis", 0), len(first))
    shapes = [c.shape(i) for i in range(len(c.operands))]
    fits = all(len(s) == len(first) and _replaced(s, axis, 0) == _replaced(first, axis, 0) for s in shapes)
    c.check(fits, f"shapes {', '.join(map(str, shapes[:5]))} do not fit along axis {axis}")
    return _replaced(first, axis, sum(s[axis] for s in shapes))


@rule("DepthToSpace", "SpaceToDepth")
def _blocks(c: Call) -> Shape:
    block = c.whole("blocksize", 0)
    c.check(c.rank(0) == 4 and 1 <= block <= 2**20, f"data of shape {c.shape(0)} and blocks of {block}")
    n, depth, h, w = c.shape(0)
    if c.op == "DepthToSpace":
        c.choice("mode", "DCR", "CRD")
        c.check(depth % block**2 == 0, f"{depth} channels and blocks of {block}")
        return n, depth // block**2, h * block, w * block
    c.check(h % block == 0 and w % block == 0, f"an image of {h} x {w} and blocks of {block}")
    return n, depth * block**2, h // block, w // block


@rule("Expand")
def _expand(c: Call) -> Shape:
    return broadcast(c, c.shape(0), _sizes(c, c.numbers(1)))


@rule("Flatten")
def _flatten(c: Call) -> Shape:
    rank, axis = c.rank(0), c.whole("axis", 1)
    c.check(-rank <= axis <= rank, f"axis {axis} of {rank} dimensions")
    axis += rank if axis < 0 else 0
    return math.prod(c.shape(0)[:axis]), math.prod(c.shape(0)[axis:])


@rule("Gather")
def _gather(c: Call) -> Shape:
    axis = c.axis(c.whole("axis", 0), c.rank(0))
    return (*c.shape(0)[:axis], *c.shape(1), *c.shape(0)[axis + 1 :])


@rule("GatherElements")
def _gather_elements(c: Call) -> Shape:
    data, places = c.shape(0), c.shape(1)
    axis = c.axis(c.whole("axis", 0), len(data))
    c.check(_inside(data, places, axis), f"indices of shape {places} for data of shape {data}")
    return places


def _inside(data: Shape, places: Shape, axis: int) -> bool:
    """Whether there are no more indices than data, but along the axis that they count."""
    if len(data) != len(places):
        return False
    return all(p <= d for i, (d, p) in enumerate(zip(data, places, strict=True)) if i != axis)


def _index_width(c: Call, batch: int = 0) -> int:
    """The length of an index into the data after their first dimensions."""
    data, places = c.shape(0), c.shape(1)
    c.check(bool(data and places), f"indices of shape {places} for data of shape {data}")
    c.check(1 <= places[-1] <= len(data) - batch, f"indices of {places[-1]} numbers for data of shape {data}")
    return places[-1]


@rule("GatherND")
def _gather_nd(c: Call) -> Shape:
    data, places, batch = c.shape(0), c.shape(1), c.whole("batch_dims", 0)
    fits = 0 <= batch < min(len(data), len(places)) and data[:batch] == places[:batch]
    c.check(fits, f"{batch} dimensions of batches in data of shape {data} and indices of shape {places}")
    return (*places[:-1], *data[batch + _index_width(c, batch) :])


@rule("ScatterElements")
def _scatter_elements(c: Call) -> Shape:
    data, places = c.shape(0), c.shape(1)
    axis = c.axis(c.whole("axis", 0), len(data))
    c.choice("reduction", "none", "add", "mul", "min", "max")
    fits = _inside(data, places, axis) and c.shape(2) == places
    c.check(fits, f"indices of shape {places} and updates {c.shape(2)} for data {data}")
    return data


@rule("ScatterND")
def _scatter_nd(c: Call) -> Shape:
    c.choice("reduction", "none", "add", "mul", "min", "max")
    expected = (*c.shape(1)[:-1], *c.shape(0)[_index_width(c) :])
    c.check(c.shape(2) == expected, f"updates of shape {c.shape(2)}; expected {expected}")
    return c.shape(0)


@rule("Pad")
def _pad(c: Call) -> Shape:
    shape, mode = c.shape(0), c.choice("mode", "constant", "reflect", "edge", "wrap")
    axes = c.axes(c.numbers(3), len(shape)) if c.has(3) else list(range(len(shape)))
    pads = c.numbers(1)
    c.check(len(pads) == 2 * len(axes), f"{len(pads)} numbers of padding for {len(axes)} dimensions")
    c.check(not c.has(2) or c.shape(2) in ((), (1,)), "its constant is not one number")
    result = list(shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        size, least, most = shape[axis], min(before, after), max(before, after)
        room = {"constant": 2**40, "edge": 2**40 if size else 0, "reflect": size - 1, "wrap": size}[mode]
        c.check(most <= max(room, 0), f"padding {before}, {after} of {size} pixels, mode {mode}")
        c.check(least >= (-size if mode == "constant" else 0), f"padding {before}, {after} of {size} pixels")
        result[axis] = size + before + after
    return _sizes(c, result)


@rule("Reshape")
def _reshape(c: Call) -> Shape:
    given, wanted, zero = c.shape(0), c.numbers(1), c.flag("allowzero")
    c.check(all(n >= -1 for n in wanted) and wanted.count(-1) <= 1, f"shape {wanted[:10]}")
    if not zero:
        c.check(all(n or i < len(given) for i, n in enumerate(wanted)), f"{given} in shape {wanted[:10]}")
        wanted = [n or given[i] for i, n in enumerate(wanted)]
    rest, count = math.prod(n for n in wanted if n != -1), math.prod(given)
    if -1 in wanted:
        c.check(rest > 0 and count % rest == 0, f"{given} in shape {wanted[:10]}")
        wanted = [count // rest if n == -1 else n for n in wanted]
    c.check(math.prod(wanted) == count, f"{given} in shape {wanted[:10]}")
    return tuple(wanted)


@rule("Resize")
def _resize(c: Call) -> Shape:
    shape, mode = c.shape(0), c.choice("mode", "nearest", "linear", "cubic")
    axes = c.axes(c.attrs.get("axes") or range(len(shape)), len(shape))
    c.check(c.choice("keep_aspect_ratio_policy", "stretch", "*") == "stretch", "only stretch is read")
    c.flag("antialias")
    c.flag("exclude_outside")
    crop = c.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    c.check(0 not in shape and not (crop and "axes" in c.attrs), f"data of shape {shape}")
    c.check(not crop or c.shape(1) == (2 * len(shape),), "its region does not fit")
    sizes = c.has(3) and bool(math.prod(c.shape(3)))
    given = c.numbers(3) if sizes else _factors(c, axes, crop)
    c.check(len(given) == len(axes), f"{len(given)} sizes for {len(axes)} dimensions")
    result = list(shape)
    for axis, size in zip(axes, given, strict=True):
        result[axis] = size
    c.check(min(result, default=1) >= 1, f"a size of {result}")
    moved = [a for a, b in zip(shape, result, strict=True) if a != b]
    c.check(mode == "nearest" or len(moved) <= 3, f"interpolation from {shape} to {result}")
    return tuple(result)


def _factors(c: Call, axes: Sequence[int], crop: bool) -> list[int]:
    """The sizes that factors lead to, in the arithmetic of ONNX Runtime."""
    c.check(c.rank(2) == 1, f"factors of shape {c.shape(2)}")
    factors, sizes = c.value(2).astype(np.float32), []
    c.check(len(factors) == len(axes), f"{len(factors)} factors for {len(axes)} dimensions")
    for i, (axis, factor) in enumerate(zip(axes, factors, strict=True)):
        c.check(bool(0 < factor < 2**31), f"a factor of {factor}")
        size = np.float32(c.shape(0)[axis])
        if crop:
            region = c.value(1).astype(np.float32)
            part = region[len(axes) + i] - region[i]
            c.check(bool(0 < part <= 2**20), f"a region of {part}")
            size = size * part
        sizes.append(int(factor * size))
    return sizes


@rule("Slice")
def _slice(c: Call) -> Shape:
    shape, starts, ends = list(c.shape(0)), c.numbers(1), c.numbers(2)
    axes = c.axes(c.numbers(3), len(shape)) if c.has(3) else list(range(len(starts)))
    steps = c.numbers(4) if c.has(4) else [1] * len(starts)
    c.check(len(starts) == len(ends) == len(axes) == len(steps) <= len(shape), "its operands have different lengths")
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = shape[axis]
        c.check(1 <= step < 2**31 or -(2**31) < step <= -1 and size > 0, f"a step of {step} over {size} elements")
        low, high = (0, size) if step > 0 else (-1, size - 1)
        first = min(max(start + size if start < 0 else start, max(low, 0)), high)
        last = min(max(end + size if end < 0 else end, low), high)
        shape[axis] = max(-((first - last) // step), 0)
    return tuple(shape)


@rule("Split")
def _split(c: Call) -> Sized:
    shape, count = c.shape(0), len(c.node.outputs)
    axis = c.axis(c.whole("axis", 0), len(shape))
    sizes = c.either(1, "split")
    if not sizes:
        c.check(c.whole("num_outputs", count) == count, f"{c.whole('num_outputs', count)} parts with {count} names")
        part = -(-shape[axis] // count)
        c.check("num_outputs" in c.attrs or part * count == shape[axis], f"{shape[axis]} elements in {count} parts")
        sizes = [part] * (count - 1) + [shape[axis] - part * (count - 1)]
    c.check(len(sizes) == count and sum(_sizes(c, sizes)) == shape[axis], f"parts {sizes[:10]} of {shape[axis]}")
    return Sized([_replaced(shape, axis, n) for n in sizes])


@rule("Squeeze")
def _squeeze(c: Call) -> Shape:
    shape = c.shape(0)
    given = c.either(1, "axes")
    axes = c.axes(given, len(shape)) or [i for i, n in enumerate(shape) if n == 1]
    c.check(all(shape[a] == 1 for a in axes), f"axes {given[:10]} of shape {shape}")
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@rule("Unsqueeze")
def _unsqueeze(c: Call) -> Shape:
    given = c.either(1, "axes")
    rank = c.rank(0) + len(given)
    axes, sizes = c.axes(given, rank), iter(c.shape(0))
    return tuple(1 if i in axes else next(sizes) for i in range(rank))


@rule("Tile")
def _tile(c: Call) -> Shape:
    counts = _sizes(c, c.numbers(1))
    c.check(len(counts) == c.rank(0), f"{len(counts)} repetitions for {c.rank(0)} dimensions")
    return tuple(n * k for n, k in zip(c.shape(0), counts, strict=True))


@rule("Transpose")
def _transpose(c: Call) -> Shape:
    order = [int(p) for p in c.attrs.get("perm") or range(c.rank(0))[::-1]]
    c.check(sorted(order) == list(range(c.rank(0))), f"order {order[:20]} of {c.rank(0)} dimensions")
    return tuple(c.shape(0)[p] for p in order)
