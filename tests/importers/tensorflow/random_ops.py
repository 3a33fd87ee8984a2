# SPDX-License-Identifier: Apache-2.0
"""Single ops with random operands and attributes, many of them absurd: a worker of ``single_ops``.

python tests/single_ops.py importers.tensorflow.random_ops 0 100000
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bnn._types import Array
from bnn.importers.tensorflow.allowed import PURE
from bnn.importers.tensorflow.frozen import NUMBERS, TfNode

OPS = sorted(PURE - {"Const"})
TYPES = sorted(NUMBERS)
_SIZES = (0, 1, 1, 2, 2, 3, 4, 5, 7, 8)
_LARGE = (9, 33, 1000, 2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
_BOUNDARY = (-(2**63), -(2**31), -(2**16), -9, -5, -4, -3, -2, -1, *range(10), *_LARGE)
_STRINGS = ("", "SAME", "VALID", "EXPLICIT", "NHWC", "NCHW", "NCHW_VECT_C", "HWNC", "REFLECT", "SYMMETRIC", "LEFT_LEFT",
            "RIGHT_RIGHT", "HALF_TO_EVEN", "HALF_UP", "x")  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3e38, float("inf"), float("-inf"), float("nan"))
tf: Any = None


def load() -> None:
    """Import TensorFlow."""
    global tf
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from bnn.importers.tensorflow.load import tensorflow

    tf = tensorflow()
    tf.nn.relu(tf.zeros([1]))


def prepare() -> None:
    from bnn.importers.tensorflow import run

    load()
    saved()
    run.MOST_BYTES, run.MOST_WORK = 2**25, 2**28  # lower limits, which are kept in the same way, are faster


class Draw:
    """What a case consists of; ``wild``: how much of it is absurd."""

    def __init__(self, number: int) -> None:
        self.rng = np.random.default_rng([0, number])
        self.wild = float(self.rng.choice([0.0, 0.05, 0.15, 0.4]))
        self.rank = int(self.rng.choice([0, 1, 2, 3, 4, 4, 4, 5]))
        self.sizes = [int(n) for n in self.rng.choice(_SIZES[1:], 10)]
        self.dtype = str(self.rng.choice(["float32", "float32", "float32", "int32", *TYPES]))

    def one(self, of: Any) -> Any:
        return of[int(self.rng.integers(len(of)))]

    def absurd(self) -> bool:
        return bool(self.rng.random() < self.wild)

    def integer(self) -> int:
        return self.one(_BOUNDARY) if self.absurd() else int(self.one((0, 1, 1, 1, 2, 2, 3, 4)))

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        if self.absurd():
            rank = int(self.rng.integers(0, 11))
        rank = self.rank if rank is None else rank
        shape = [self.one(_SIZES) if self.absurd() or self.rng.random() < 0.1 else self.sizes[i] for i in range(rank)]
        if rank and self.absurd():  # a large one, perhaps beside a 0
            shape[int(self.rng.integers(rank))] = self.one((1000, 2**16, 2**20, 2**22))
            if self.rng.random() < 0.5:
                shape = [0 if i == int(self.rng.integers(rank)) else n for i, n in enumerate(shape)]
        while np.prod([max(n, 1) for n in shape], dtype=object) > 2**22:
            shape[int(np.argmax(shape))] //= 16
        if shape and 0 in shape and self.absurd():
            large = [n and self.one((n, n, 2**31 - 1, 2**20)) for n in shape]
            shape = large if np.prod([max(n, 1) for n in large], dtype=object) < 2**59 else shape
        return tuple(shape)

    def array(self, shape: tuple[int, ...], dtype: str) -> Array:
        kind = tf.dtypes.as_dtype(dtype).as_numpy_dtype
        count = int(np.prod(shape))
        if count > 5000:
            return np.resize(self.array((997,), dtype), shape)
        if dtype == "bool":
            values = self.rng.integers(0, 2, count)
        elif dtype.startswith(("int", "uint")) and self.absurd():
            limits = np.iinfo(kind)
            edges = [limits.min, limits.max, 0, 1, -1 if limits.min else 2, limits.min + 1]
            values = np.array([self.one(edges) for _ in range(min(count, 8))] or [0], kind)
            values = np.resize(values, count)
        elif dtype.startswith(("int", "uint")):
            values = self.rng.integers(0 if self.rng.random() < 0.7 or dtype.startswith("u") else -4, 5, count)
        elif self.absurd():
            values = np.resize(np.array([self.one(_FLOATS) for _ in range(8)], np.float64), count)
        else:
            values = self.rng.normal(0, 2, count)
        with np.errstate(all="ignore"):
            return np.asarray(values).astype(kind).reshape(shape)

    def numbers(self, dtype: str) -> Array:
        """A small operand of integers: axes, sizes, pads, positions."""
        form = self.one(
            [(), (), (1,), (2,), (self.rank,), (self.rank,), (max(self.rank - 2, 0),), (self.rank, 2), (2, 2)]
        )
        if self.absurd():
            form = self.shape(int(self.rng.integers(0, 4)))
        count = int(np.prod(form))
        if count > 5000:
            return self.array(form, dtype)
        values = [self.integer() for _ in range(count)]
        if self.rng.random() < 0.2 and count == self.rank:
            values = [int(n) for n in self.rng.permutation(self.rank)]
        return (
            np.array([v % 2**63 if v >= 2**63 else v for v in values], object)
            .astype(np.int64)
            .astype(dtype)
            .reshape(form)
        )

    def flag(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def dims(self, least: int = 0) -> tuple[int, ...]:
        return tuple(self.sizes[: max(self.rank, least)])

    def floats(self, *shape: int) -> Array:
        """Data, mostly of floats."""
        return self.array(shape, self.dtype)

    def whole(self, values: Any) -> Array:
        """Numbers that say where, or how many."""
        values = np.array(values, np.int64)
        return values.astype(np.int32) if np.abs(values).max(initial=0) < 2**31 and self.rng.random() < 0.8 else values

    def attribute(self, declared: Any, rank: int) -> Any:
        kind = declared.type
        if self.absurd() and self.rng.random() < 0.1:  # another kind
            return self.one([None, "x", 1, -1, 0.5, True, [], [1], "float32"])
        if kind == "type":
            return self.one(TYPES) if self.rng.random() < 0.9 else self.one(["complex64", "string", "qint8", "int4"])
        if kind == "int":
            return self.integer()
        if kind == "float":
            return float(self.one(_FLOATS))
        if kind == "bool":
            return bool(self.rng.random() < 0.5)
        if kind == "string":
            known = [s.decode() for s in declared.allowed_values.list.s]
            return self.one(known) if known and not self.absurd() else self.one(_STRINGS)
        if kind == "shape":
            return [self.integer() for _ in range(rank)]
        if kind == "list(int)":
            if declared.name in ("strides", "ksize", "dilations") and not self.absurd():
                inner = [int(n) for n in self.rng.integers(1, 4, 2)]
                return [1, *inner, 1]
            count = (
                8 if declared.name == "explicit_paddings" and self.rng.random() < 0.7 else int(self.rng.integers(0, 6))
            )
            return [self.integer() for _ in range(count)]
        return self.one([None, [], ["float32"], [1.0]])


# -- operands and attributes that fit each other ----------------------------------------------------------------------

Form = Callable[[Draw], tuple[list[Array], dict[str, Any]]]


def _axes(d: Draw, rank: int) -> Array:
    chosen = d.rng.permutation(rank)[: int(d.rng.integers(rank + 1))] if rank else []
    return d.whole([int(i) - (rank if d.flag() else 0) for i in chosen])


def _window(d: Draw) -> dict[str, Any]:
    """Strides, dilations and padding."""
    step, hole = d.sizes[8] % 3 + 1, d.sizes[9] % 3 + 1
    padding = str(d.one(["SAME", "VALID", "VALID", "EXPLICIT"]))
    explicit = [0, 0, *(int(n) for n in d.rng.integers(0, 3, 4)), 0, 0] if padding == "EXPLICIT" else []
    return {"strides": [1, step, step, 1], "dilations": [1, hole, hole, 1], "padding": padding,
            "explicit_paddings": explicit}  # fmt: skip


def _conv(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c, o = d.sizes[:5]
    kh, kw = (int(k) for k in d.rng.integers(1, 4, 2))
    groups = int(d.one([1, 1, c]))
    return [d.floats(n, h + 6, w + 6, c), d.floats(kh, kw, c // groups, o * groups)], _window(d)


def _depthwise(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c, m = d.sizes[:5]
    return [d.floats(n, h + 6, w + 6, c), d.floats(2, 3, c, m)], _window(d)


def _transposed(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c, o = d.sizes[:5]
    step = d.sizes[8] % 3 + 1
    valid = d.flag()
    size = [n, (h - 1) * step + 2, (w - 1) * step + 3, c] if valid else [n, h * step, w * step, c]
    attrs = {"strides": [1, step, step, 1], "padding": "VALID" if valid else "SAME"}
    return [d.whole(size), d.floats(2, 3, c, o), d.floats(n, h, w, o)], attrs


def _pool(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c = d.sizes[:4]
    attrs = {"ksize": [1, 1 + h % 3, 1 + w % 4, 1], "strides": [1, 1 + n % 3, 1 + c % 3, 1]}
    return [d.floats(n, h + 3, w + 3, c)], {**attrs, "padding": str(d.one(["SAME", "VALID"]))}


def _norm(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c = d.sizes[:4]
    train = d.flag()
    known = [d.floats(0) if train else d.floats(c) for _ in range(2)]
    return [d.floats(n, h, w, c), d.floats(c), d.floats(c), *known], {"is_training": train, "epsilon": 1e-3}


def _product(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    m, k, n = d.sizes[:3]
    a, b = d.flag(), d.flag()
    left, right = (k, m) if a else (m, k), (n, k) if b else (k, n)
    return [d.floats(*left), d.floats(*right)], {"transpose_a": a, "transpose_b": b}


def _batched(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    (left, right), attrs = _product(d)
    batch = tuple(d.sizes[4 : 4 + d.rank % 3])
    operands = [np.resize(x, (*batch, *x.shape)) for x in (left, right)]
    return operands, {"adj_x": attrs["transpose_a"], "adj_y": attrs["transpose_b"]}


def _joined(d: Draw) -> list[Array]:
    x = d.floats(*d.dims(1))
    return [x] * int(d.one([2, 2, 3, 5]))


def _concat(first: bool) -> Form:
    def form(d: Draw) -> tuple[list[Array], dict[str, Any]]:
        values = _joined(d)
        axis = d.whole(int(d.rng.integers(values[0].ndim)))
        return [axis, *values] if first else [*values, axis], {"N": len(values)}

    return form


def _offsets(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    shape = np.array(d.dims(1), np.int32)
    return [np.int32(int(d.rng.integers(len(shape)))), shape, shape], {"N": 2}


def _split(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    count, shape = int(d.one([1, 2, 3])), list(d.dims(1))
    axis = int(d.rng.integers(len(shape)))
    shape[axis] *= count
    return [np.int32(axis), d.floats(*shape)], {"num_split": count}


def _split_v(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    (axis, x), attrs = _split(d)
    return [x, d.whole([x.shape[int(axis)] // attrs["num_split"]] * attrs["num_split"]), np.int32(axis)], attrs


def _unpack(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims(1))
    axis = int(d.rng.integers(-x.ndim, x.ndim))
    return [x], {"num": x.shape[axis], "axis": axis}


def _gather(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x, axis = d.floats(*d.dims(1)), int(d.rng.integers(10))
    axis %= x.ndim
    shared = int(d.rng.integers(axis + 1)) if d.flag() else 0
    index = d.rng.integers(0, max(x.shape[axis], 1), (*x.shape[:shared], *d.dims()[:2]))
    return [x, d.whole(index), d.whole(axis)], {"batch_dims": shared}


def _gather_nd(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims(1))
    depth = int(d.rng.integers(x.ndim + 1))
    return [x, d.whole(d.rng.integers(0, 2, (*d.dims()[:2], depth)) % np.maximum(x.shape[:depth], 1))], {}


def _scatter(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    (x, index), _ = _gather_nd(d)
    updates = d.floats(*index.shape[:-1], *x.shape[index.shape[-1] :])
    return [x, index, updates], {}


def _pads(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    most = 3 if d.flag() else 1
    pads = [[min(int(n), max(x.shape[i] - 1, 0)) for n in d.rng.integers(0, most, 2)] for i in range(x.ndim)]
    return [x, d.whole(np.array(pads, np.int64).reshape(-1, 2))], {"mode": str(d.one(["REFLECT", "SYMMETRIC"]))}


def _strided(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    count = int(d.rng.integers(x.ndim + 1)) if d.flag() else x.ndim
    numbers = [d.whole(d.rng.integers(-3, 6, count)) for _ in range(2)]
    steps = d.whole(d.rng.choice([-2, -1, 1, 1, 2], count))
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return [x, *numbers, steps], {name: int(d.rng.integers(8)) if d.rng.random() < 0.3 else 0 for name in names}


def _blocks(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c = d.sizes[:4]
    block = [1 + h % 3, 1 + w % 2]
    pads = [[int(d.rng.integers(2)), 0], [0, int(d.rng.integers(2))]]
    pads = [[a, b + -(size + a + b) % k] for (a, b), size, k in zip(pads, (h, w), block, strict=True)]
    return [d.floats(n, h, w, c), d.whole(block), d.whole(pads)], {}


def _unblocked(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c = d.sizes[:4]
    block = [1 + h % 3, 1 + w % 2]
    return [d.floats(n * block[0] * block[1], h, w, c), d.whole(block), d.whole([[0, h % 2], [w % 2, 0]])], {}


def _depth(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    n, h, w, c = d.sizes[:4]
    return [d.floats(n, 2 * h, 2 * w, 4 * c)], {"block_size": 2}


def _sparse(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    m, k, n, nonzero = d.sizes[:4]
    index = np.stack([d.rng.integers(0, m, nonzero), d.rng.integers(0, k, nonzero)], 1)
    a, b = d.flag(), d.flag()
    inner = m if a else k
    operands = [index, d.floats(nonzero), np.array([m, k], np.int64), d.floats(*((n, inner) if b else (inner, n)))]
    return operands, {"adjoint_a": a, "adjoint_b": b}


def _diagonals(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    low, high = sorted(int(k) for k in d.rng.integers(-1, 2, 2))
    rows, columns = d.sizes[2] + 2, d.sizes[3] + 2
    longest = min(rows + min(high, 0), columns - max(low, 0))
    shape = (*d.dims()[:2], *([high - low + 1] if high > low else []), longest)
    k = np.array([low, high] if high > low else low, np.int32)
    operands = [d.floats(*shape), k, np.int32(rows), np.int32(columns)]
    return operands, {"align": str(d.one(["LEFT_LEFT", "RIGHT_RIGHT", "LEFT_RIGHT"]))}


def _matrix_diag(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    operands, attrs = _diagonals(d)
    return [*operands, d.floats()], attrs


def _matrix_set(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    (values, k, rows, columns), attrs = _diagonals(d)
    outer = values.shape[: -2 if k.ndim else -1]
    return [d.floats(*outer, int(rows), int(columns)), values, k], attrs


def _matrix_part(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    (x, _, k), attrs = _matrix_set(d)
    return [x, k, d.floats()], attrs


def _where(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    return [d.array(x.shape, "bool"), x, d.floats(*x.shape)], {}


def _one_hot(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    index = d.whole(d.rng.integers(-1, 5, d.dims()[:3]))
    return [index, np.int32(d.integer()), d.floats(), d.floats()], {"axis": int(d.rng.integers(-1, index.ndim + 1))}


def _sliced(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    begin = [int(d.rng.integers(n + 1)) for n in x.shape]
    kind = d.one((np.int32, np.int64))
    return [x, np.array(begin, kind), np.array([int(d.one([-1, n - b])) for n, b in zip(x.shape, begin, strict=True)],
            kind)], {}  # fmt: skip


def _of_axis(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims(1))
    return [x, d.whole(int(d.rng.integers(-x.ndim, x.ndim)))], {}


def _reduced(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    return [x, _axes(d, x.ndim)], {"keep_dims": d.flag()}


def _rolled(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims(1))
    axes = _axes(d, x.ndim)
    return [x, d.whole(d.rng.integers(-9, 9, axes.shape)), axes], {}


def _reshaped(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = d.floats(*d.dims())
    return [x, d.whole(d.one([[-1], [x.size], [1, x.size, 1], list(x.shape[::-1])]))], {}


def _resized(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    return [d.floats(*d.sizes[:4]), np.array([d.integer(), d.integer()], np.int32)], {"half_pixel_centers": False}


def _quantized(count: int) -> Form:
    def form(d: Draw) -> tuple[list[Array], dict[str, Any]]:
        x = d.floats(*d.dims(1))
        axis = int(d.one([-1, 0, x.ndim - 1]))
        limits = [np.full(() if axis < 0 else x.shape[axis], n).astype(x.dtype) for n in (-1, 1)]
        more = [np.int32(d.one([1, 4, 8, 63]))] if count == 4 else []
        return [x, *limits, *more], {"axis": axis, "num_bits": int(d.one([1, 4, 8, 63])), "range_given": d.flag()}

    return form


def _faked(channels: bool) -> Form:
    def form(d: Draw) -> tuple[list[Array], dict[str, Any]]:
        x = d.array(d.dims(1), "float32")
        limits = [np.full(x.shape[-1:] if channels else (), n, np.float32) for n in (-1, 1)]
        return [x, *limits], {"num_bits": int(d.rng.integers(2, 17))}

    return form


def _steps(d: Draw) -> tuple[list[Array], dict[str, Any]]:
    kind = d.one((np.int32, np.float32, np.int64))
    return [np.array(d.integer() % 2**31, kind) for _ in range(3)], {}


_REDUCTIONS = ("All", "Any", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum")
FORMS: dict[str, Form] = {
    **dict.fromkeys(_REDUCTIONS, _reduced), **dict.fromkeys(("ArgMax", "ArgMin", "Cumprod", "Cumsum"), _of_axis),
    **dict.fromkeys(("AvgPool", "MaxPool"), _pool), **dict.fromkeys(("MatMul", "SparseMatMul"), _product),
    **dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _batched),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _norm),
    **dict.fromkeys(("TensorScatterAdd", "TensorScatterUpdate"), _scatter),
    **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor"), _resized),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _depth), **dict.fromkeys(("Select", "SelectV2"), _where),
    "AddN": lambda d: (values := _joined(d), {"N": len(values)}),
    "BatchToSpaceND": _unblocked, "SpaceToBatchND": _blocks,
    "BiasAdd": lambda d: ([d.floats(*d.dims(1), d.sizes[9]), d.floats(d.sizes[9])], {}),
    "BroadcastArgs": lambda d: ([d.whole(d.dims()), d.whole([1, *d.dims()])], {}),
    "BroadcastTo": lambda d: ([d.floats(*d.dims()), d.whole([d.integer(), *d.dims()])], {}),
    "ClipByValue": lambda d: ([d.floats(*d.dims()), d.floats(), d.floats()], {}),
    "Concat": _concat(True), "ConcatV2": _concat(False), "ConcatOffset": _offsets,
    "Conv2D": _conv, "Conv2DBackpropInput": _transposed, "DepthwiseConv2dNative": _depthwise,
    "EnsureShape": lambda d: ([d.floats(*d.dims())], {"shape": [int(d.one([-1, n])) for n in d.dims()]}),
    "ExpandDims": lambda d: ([d.floats(*d.dims()), d.whole(int(d.rng.integers(-d.rank - 1, d.rank + 1)))], {}),
    "FakeQuantWithMinMaxVars": _faked(False), "FakeQuantWithMinMaxVarsPerChannel": _faked(True),
    "Fill": lambda d: ([d.whole([d.integer() for _ in range(3)]), d.floats()], {}),
    "Gather": lambda d: ([d.floats(*d.dims(1)), d.whole(np.zeros(d.dims()[:2], int))], {}),
    "GatherNd": _gather_nd, "GatherV2": _gather,
    "InvertPermutation": lambda d: ([d.whole(d.rng.permutation(d.sizes[0]))], {}),
    "LinSpace": lambda d: ([d.floats(), d.floats(), d.whole(d.integer())], {}),
    "MatrixBandPart": lambda d: ([d.floats(*d.dims(), 4, 3), d.whole(-1), d.whole(int(d.rng.integers(-1, 5)))], {}),
    "MatrixDiagPartV3": _matrix_part, "MatrixDiagV3": _matrix_diag, "MatrixSetDiagV3": _matrix_set,
    "MirrorPad": _pads, "OneHot": _one_hot, "Pack": lambda d: (values := _joined(d), {"N": len(values), "axis": 0}),
    "Pad": lambda d: (_pads(d)[0], {}), "PadV2": lambda d: ([*_pads(d)[0], d.floats()], {}),
    "QuantizeAndDequantizeV2": _quantized(3), "QuantizeAndDequantizeV3": _quantized(4),
    "QuantizeAndDequantizeV4": _quantized(3), "Range": _steps, "Reshape": _reshaped,
    "ReverseV2": lambda d: (_reduced(d)[0], {}), "Roll": _rolled,
    "ScatterNd": lambda d: (lambda x, i, u: ([i, u, np.array(x.shape, i.dtype)], {}))(*_scatter(d)[0]),
    "Slice": _sliced, "SparseTensorDenseMatMul": _sparse, "Split": _split, "SplitV": _split_v, "StridedSlice": _strided,
    "Squeeze": lambda d: ([d.floats(1, *d.dims(), 1)], {"squeeze_dims": d.one([[], [0], [-1], [0, -1]])}),
    "Tile": lambda d: ([d.floats(*d.dims(1)), d.whole([d.integer() for _ in d.dims(1)])], {}),
    "TopKV2": lambda d: ([d.floats(*d.dims(1)), np.int32(d.rng.integers(d.dims(1)[-1] + 1))], {}),
    "Transpose": lambda d: ([d.floats(*d.dims()), d.whole(d.rng.permutation(d.rank))], {}),
    "Unpack": _unpack,
}  # fmt: skip
"""Operands and attributes that fit each other, of ops that take more than data of one shape."""


def made(draw: Draw) -> tuple[TfNode, list[Array]]:
    """A node and its operands: such as fit, of which some are others; or anything."""
    from tensorflow.python.framework import op_def_registry

    op = str(draw.one(OPS))
    definition = op_def_registry.get(op)
    if op in FORMS and draw.rng.random() < 0.85:
        given, chosen = FORMS[op](draw)
        operands = [np.asarray(x) for x in given]
        declared = {a.name: a for a in definition.attr}
        attrs = {name: value for name, value in chosen.items() if name in declared}
        lengths = {a.number_attr for a in definition.input_arg}
        for name, a in declared.items():
            needed = name not in attrs and not a.HasField("default_value") and a.type != "type"
            if needed or draw.rng.random() < draw.wild and name not in lengths:
                attrs[name] = draw.attribute(a, draw.rank)
        for a in definition.attr:  # the types that TensorFlow does not derive
            if a.type == "type" and a.name not in attrs and not a.HasField("default_value"):
                attrs[a.name] = draw.dtype
    else:
        attrs, operands = _anything(draw, definition)
    for i, x in enumerate(operands):
        if draw.absurd():
            kind = draw.rng.integers(3)
            changed = draw.shape() if kind == 0 else x.shape
            if x.dtype.kind in "iu" and x.size < 5000 and kind == 1:
                values = np.array([draw.integer() % 2**31 for _ in range(x.size)], np.int64)
                operands[i] = values.reshape(x.shape).astype(x.dtype)
            else:
                operands[i] = draw.array(changed, x.dtype.name)
    if draw.absurd() and draw.flag():
        operands = operands[: int(draw.rng.integers(len(operands) + 1))]
    return TfNode(op, f"case/{op}", (), attrs), operands


def _anything(draw: Draw, definition: Any) -> tuple[dict[str, Any], list[Array]]:
    """Operands and attributes of the declared types, and of one shape if they are tame."""
    attrs: dict[str, Any] = {}
    types: dict[str, str] = {}
    for a in definition.attr:
        if a.type == "type":
            allowed = [tf.dtypes.as_dtype(t).name for t in a.allowed_values.list.type]
            allowed = [t for t in allowed if t in NUMBERS] or TYPES
            types[a.name] = draw.dtype if draw.dtype in allowed else str(draw.one(allowed))
    shape = draw.shape()
    operands: list[Array] = []
    for argument in definition.input_arg:
        count = 1
        if argument.number_attr or argument.type_list_attr:
            count = int(draw.one([0, 1, 2, 2, 3, 4]))
            lengths = argument.number_attr or argument.type_list_attr
            attrs[lengths] = count if argument.number_attr else ["float32"] * count
        for _ in range(count):
            dtype = types.get(argument.type_attr) or tf.dtypes.as_dtype(argument.type or 1).name
            dtype = str(draw.one(TYPES)) if draw.absurd() else dtype
            if argument.type_attr.startswith("T") and argument.type_attr != "T" and dtype.startswith("int"):
                operands.append(draw.numbers(dtype))
            else:
                same = draw.rng.random() < 0.8
                operands.append(draw.array(shape if same else draw.shape(draw.one([0, 1, 2, None])), dtype))
    for a in definition.attr:
        left_out = a.HasField("default_value") and draw.rng.random() < 0.7
        if a.name not in attrs and not left_out:
            tame = a.name in types and not draw.absurd()
            attrs[a.name] = types[a.name] if tame else draw.attribute(a, draw.rank)
    return attrs, operands


def case(number: int) -> str:
    """Run one op, every twentieth as the SavedModel that holds it."""
    from bnn.importers.tensorflow.run import TfRunner

    node, operands = made(Draw(number))
    if number % 20 == 0:
        return _compiled(node, operands)
    for result in TfRunner(tf, False)(node, operands):
        np.asarray(result)
    return "executed"


def _compiled(node: TfNode, operands: list[Array]) -> str:
    import bnn

    bnn.compile(written(lambda model: insert(model, node, operands)))
    return "compiled"


@functools.cache
def saved() -> tuple[Path, bytes]:
    """A SavedModel that multiplies: its folder and its protocol buffer."""
    model, folder = tf.Module(), Path(tempfile.mkdtemp()) / "net"
    model.weight = tf.Variable([2.0, 3.0, 4.0])
    call = tf.function(lambda x: x * model.weight, input_signature=[tf.TensorSpec([None, 3])])
    tf.saved_model.save(model, folder, signatures=call)
    return folder, (folder / "saved_model.pb").read_bytes()


def written(change: Callable[[Any], object]) -> Path:
    """The folder of that model with another protocol buffer."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder, plain = saved()
    model = SavedModel.FromString(plain)
    change(model)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def product(model: Any) -> Any:
    """The function that multiplies."""
    library = model.meta_graphs[0].graph_def.library
    return next(f for f in library.function if any(n.op == "Mul" for n in f.node_def))


def insert(model: Any, node: TfNode, operands: list[Array], data: bool = True) -> None:
    """The op on constants, or on the data, whose result the product takes."""
    from tensorflow.python.framework import op_def_registry

    function = product(model)
    written = function.node_def.add(name="op", op=node.op)
    for i, operand in enumerate(operands):
        if data and operand.size > 2**16:
            operand = operand.reshape(-1)[:1]
        constant = function.node_def.add(name=f"c{i}", op="Const")
        constant.attr["value"].tensor.CopyFrom(_proto(operand))
        constant.attr["dtype"].type = tf.dtypes.as_dtype(operand.dtype).as_datatype_enum
        written.input.append("x" if data and i == 0 and operand.shape and operand.size % 2 else f"c{i}:output:0")
    for name, value in node.attrs.items():
        _write(written.attr[name], value)
    outputs = op_def_registry.get(node.op).output_arg
    multiplied = next(n for n in function.node_def if n.op == "Mul")
    multiplied.input[int(len(operands) % 2) if data else 1] = f"op:{outputs[0].name}:0"


def _proto(operand: Array) -> Any:
    """A constant; one of equal numbers is a single one."""
    if operand.size < 1000 or operand.min() != operand.max():
        return tf.make_tensor_proto(operand)
    made = tf.make_tensor_proto(operand.reshape(-1)[:1])
    made.tensor_shape.CopyFrom(tf.TensorShape(operand.shape).as_proto())
    return made


def _write(attr: Any, value: Any) -> None:
    if isinstance(value, bool):
        attr.b = value
    elif isinstance(value, int):
        attr.i = max(min(value, 2**63 - 1), -(2**63))
    elif isinstance(value, float):
        attr.f = value
    elif isinstance(value, str) and hasattr(tf, value):
        attr.type = tf.dtypes.as_dtype(value).as_datatype_enum
    elif isinstance(value, str):
        attr.s = value.encode()
    elif isinstance(value, list):
        attr.list.SetInParent()
        for v in value:
            if isinstance(v, int):
                attr.list.i.append(max(min(v, 2**63 - 1), -(2**63)))
            elif isinstance(v, str):
                attr.list.type.append(tf.dtypes.as_dtype(v).as_datatype_enum)
