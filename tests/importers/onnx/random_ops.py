# SPDX-License-Identifier: Apache-2.0
"""Single ONNX operators with random operands and attributes: valid ones, and damaged ones.

A worker of tests/single_ops.py: the runner of single nodes, and for some cases all that is done with a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bnn._types import Array
from bnn.errors import CompileError

Rng = np.random.Generator
Case = tuple[list["Array | None"], dict[str, Any]]
OPSETS = range(11, onnx.defs.onnx_opset_version() + 1)
ABSURD = [-(2**63), -(2**40), -(2**31), -65536, -7, -3, -2, -1, 0, 1, 2, 3, 7, 64, 65536, 2**20, 2**31 - 1, 2**31,
          2**40, 2**62, 2**63 - 1]  # fmt: skip
TEXTS = ["", "none", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "cubic", "nearest", "reflect", "edge",
         "wrap", "constant", "add", "mul", "CRD", "DCR", "tanh", "LEFT", "RIGHT", "tf_crop_and_resize", "align_corners",
         "half_pixel", "asymmetric", "not_larger", "round_prefer_ceil", "\xff\n"]  # fmt: skip
DTYPES = [np.float32] * 6 + [np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_, np.uint16]


class Maker:
    """Operands and attributes that an operator may accept."""

    def __init__(self, rng: Rng, opset: int) -> None:
        self.rng, self.opset = rng, opset
        self.dtype = DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.4 else np.float32

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def upto(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def shape(self, rank: int | None = None) -> list[int]:
        rank = self.pick(0, 1, 2, 3, 4, 4, 5) if rank is None else rank
        least = 0 if self.chance(0.05) else 1
        return [self.upto(least, 5) for _ in range(rank)]

    def array(self, shape: Any, dtype: Any = None) -> Array:
        values = self.rng.integers(-4, 5, tuple(shape))
        return np.asarray(values).astype(self.dtype if dtype is None else dtype)

    def index(self, shape: Any, size: int) -> Array:
        return np.asarray(self.rng.integers(-size, max(size, 1 - size), tuple(shape)), self.pick(np.int64, np.int32))

    def ints(self, values: Any) -> Array:
        return np.asarray(values, np.int64)

    def part(self, shape: list[int]) -> list[int]:
        """A shape that broadcasts to another."""
        return [n if self.chance(0.6) else 1 for n in shape[self.upto(0, len(shape)) :]]

    def axis(self, rank: int) -> int:
        return self.upto(-rank, rank - 1) if rank else 0

    # -- by operator

    def unary(self) -> Case:
        return [self.array(self.shape())], {}

    def broadcast(self, count: int = 2) -> Case:
        shape = self.shape()
        return [self.array(self.part(shape) if self.chance(0.5) else shape) for _ in range(count)], {}

    def several(self) -> Case:
        return self.broadcast(self.upto(1, 4))

    def truth(self) -> Case:
        self.dtype = np.bool_
        return self.broadcast()

    def bits(self) -> Case:
        self.dtype = self.pick(np.uint8, np.uint32, np.uint64)
        return self.broadcast()

    def shifted(self) -> Case:
        return self.bits()[0], {"direction": self.pick("LEFT", "RIGHT")}

    def remainder(self) -> Case:
        operands, _ = self.broadcast()
        return operands, {"fmod": 1} if np.dtype(self.dtype).kind == "f" or self.chance(0.5) else {}

    def images(self) -> Case:
        return [self.array(self.shape(self.upto(2, 5)))], {}

    def where(self) -> Case:
        (a, b, c), _ = self.broadcast(3)
        return [a != 0, b, c], {}  # type: ignore[operator]

    def clip(self) -> Case:
        return [self.array(self.shape()), self.array(()), self.array(())][: self.upto(1, 3)], {}

    def axes(self) -> Case:
        shape = self.shape()
        axes = self.rng.permutation(len(shape))[: self.upto(0, len(shape))].tolist()
        attrs: dict[str, Any] = {"keepdims": self.upto(0, 1)} if self.chance(0.5) else {}
        if self.opset >= 18:
            return [self.array(shape), self.ints(axes)], attrs
        return [self.array(shape)], attrs | ({"axes": axes} if axes else {})

    def along(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        return [self.array(shape)], {"axis": self.axis(len(shape))}

    def norm(self) -> Case:
        shape = self.shape(self.upto(2, 5))
        return [self.array(shape), *(self.array(shape[1:2]) for _ in range(4))], {}

    def instance_norm(self) -> Case:
        operands, _ = self.norm()
        return operands[:3], {}

    def layer_norm(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        return [self.array(shape), *(self.array(shape[axis:]) for _ in range(self.upto(1, 2)))], {"axis": axis}

    def quantize(self) -> Case:
        shape, kind = self.shape(self.upto(1, 4)), self.pick(np.uint8, np.int8)
        axis = self.axis(len(shape))
        scale: list[int] = [shape[axis]] if self.chance(0.5) else []
        attrs = {"axis": axis} if self.opset > 12 else {}
        return [self.array(shape, np.float32), np.ones(scale, np.float32), self.array(scale, kind)], attrs

    def dequantize(self) -> Case:
        (x, scale, zero), attrs = self.quantize()
        assert x is not None and zero is not None
        return [x.astype(zero.dtype), scale, zero][: self.upto(2, 3)], attrs

    def matmul(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        return [self.array(shape), self.array([*([] if self.chance(0.5) else shape[:-2]), shape[-1], 3])], {}

    def gemm(self) -> Case:
        m, k, n = self.shape(3)
        a, b = self.upto(0, 1), self.upto(0, 1)
        given = [
            self.array([k, m] if a else [m, k]),
            self.array([n, k] if b else [k, n]),
            self.array(self.part([m, n])),
        ]
        return given[: self.upto(2, 3)], {"transA": a, "transB": b}

    def window(self, rank: int, kernel: list[int]) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        for name, low, high in (("strides", 1, 3), ("dilations", 1, 2)):
            if self.chance(0.4) and (name == "strides" or self.opset > 18):
                attrs[name] = [self.upto(low, high) for _ in range(rank)]
        if self.chance(0.5):
            attrs["pads"] = [self.upto(0, max(k - 1, 0)) for k in kernel * 2]
        elif self.chance(0.3):
            attrs["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER", "VALID")
        return attrs

    def conv(self, transposed: bool = False) -> Case:
        rank, groups = self.upto(1, 3), self.pick(1, 1, 2, 3)
        kernel = [self.upto(1, 3) for _ in range(rank)]
        shape = [self.upto(1, 3), groups * self.upto(1, 2), *(self.upto(3, 7) for _ in range(rank))]
        filters = self.upto(1, 3)
        w = [shape[1], filters] if transposed else [groups * filters, shape[1] // groups]
        attrs = {"group": groups} | self.window(rank, kernel)
        if transposed and self.chance(0.3):
            attrs |= {"output_padding": [0] * rank} if self.chance(0.5) else {"output_shape": [4] * rank}
        operands = [self.array(shape), self.array(w + kernel), self.array([groups * filters])]
        return operands[: self.upto(2, 3)], attrs

    def conv_transpose(self) -> Case:
        return self.conv(transposed=True)

    def pool(self) -> Case:
        rank = self.upto(1, 3)
        kernel = [self.upto(1, 3) for _ in range(rank)]
        attrs = {"kernel_shape": kernel, "ceil_mode": self.upto(0, 1)} | self.window(rank, kernel)
        return [self.array([2, 2, *(self.upto(3, 7) for _ in range(rank))])], attrs

    def cast(self) -> Case:
        return [self.array(self.shape())], {"to": self.upto(0, 26) if self.chance(0.3) else self.pick(1, 6, 7, 9)}

    def cast_like(self) -> Case:
        return [self.array(self.shape()), self.array(self.shape(), self.pick(*DTYPES))], {}

    def dropout(self) -> Case:
        given = [self.array(self.shape()), np.float32(0.5), np.asarray(self.chance(0.1))]
        return [np.asarray(g) for g in given][: self.upto(1, 3)], {}

    def cumsum(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        return [self.array(shape), np.asarray(self.axis(len(shape)), np.int64)], {"reverse": self.upto(0, 1)}

    def top(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        return [self.array(shape), self.ints([self.upto(0, shape[axis])])], {"axis": axis}

    def trilu(self) -> Case:
        return [self.array(self.shape(self.upto(2, 4))), np.asarray(self.upto(-4, 4), np.int64)][: self.upto(1, 2)], {}

    def extent(self) -> Case:
        return [self.array(self.shape())], {"start": self.upto(-3, 3)} if self.chance(0.3) else {}

    def filled(self) -> Case:
        value = helper.make_tensor("v", self.pick(1, 7, 9), [1], [1])
        return [self.ints(self.shape())], {"value": value} if self.chance(0.6) else {}

    def eye(self) -> Case:
        return [self.array(self.shape(2))], {"k": self.upto(-3, 3), "dtype": self.pick(1, 7, 9)}

    def one_hot(self) -> Case:
        shape = self.shape(self.upto(0, 3))
        depth = np.asarray(self.upto(1, 5), self.pick(np.int64, np.float32))
        return [self.index(shape, 4), depth, self.array([2])], {"axis": self.axis(len(shape) + 1)}

    def range(self) -> Case:
        dtype = self.pick(np.int64, np.float32, np.int32, np.float64)
        return [np.asarray(v, dtype) for v in (self.upto(-3, 3), self.upto(-3, 9), self.upto(1, 3) / 2 + 0.5)], {}

    def concat(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        parts = []
        for _ in range(self.upto(1, 4)):
            part = list(shape)
            part[axis] = self.upto(0, 3)
            parts.append(self.array(part))
        return list(parts), {"axis": axis}

    def blocks(self) -> Case:
        block = self.upto(1, 3)
        return [self.array([2, block**2 * 2, block * 2, block])], {"blocksize": block}

    def expand(self) -> Case:
        shape = self.shape()
        return [self.array(self.part(shape)), self.ints(shape)], {}

    def flatten(self) -> Case:
        shape = self.shape()
        return [self.array(shape)], {"axis": self.upto(-len(shape), len(shape))}

    def gather(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        return [self.array(shape), self.index(self.shape(), shape[axis])], {"axis": axis}

    def gather_elements(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        places = [self.upto(0, n) for n in shape]
        return [self.array(shape), self.index(places, shape[axis])], {"axis": axis}

    def gather_nd(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        batch = self.upto(0, len(shape) - 1)
        width = self.upto(1, len(shape) - batch)
        places = [*shape[:batch], *self.shape(self.upto(0, 2)), width]
        return [self.array(shape), self.ints(self.rng.integers(-1, 1, places))], {"batch_dims": batch}

    def scatter_elements(self) -> Case:
        (data, places), attrs = self.gather_elements()
        assert places is not None
        return [data, places, self.array(places.shape)], attrs

    def scatter_nd(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        width, first = self.upto(1, len(shape)), self.shape(self.upto(0, 2))
        places = self.ints(self.rng.integers(-1, 1, [*first, width]))
        return [self.array(shape), places, self.array([*first, *shape[width:]])], {}

    def pad(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        mode = self.pick("constant", "constant", "reflect", "edge", "wrap")
        pads = [self.upto(-1 if mode == "constant" and self.chance(0.3) else 0, 3) for _ in shape * 2]
        operands = [self.array(shape), self.ints(pads), self.array(())]
        return list(operands[: self.upto(2, 3)]), {"mode": mode}

    def reshape(self) -> Case:
        shape = self.shape()
        wanted = self.rng.permutation(shape).tolist()
        if wanted and self.chance(0.5):
            wanted[self.upto(0, len(wanted) - 1)] = -1
        return [self.array(shape), self.ints(wanted)], {}

    def resize(self) -> Case:
        shape, mode = self.shape(self.pick(2, 3, 4, 4, 5)), self.pick("nearest", "nearest", "linear", "cubic")
        turned = self.pick("half_pixel", "asymmetric", "align_corners", "tf_crop_and_resize", "pytorch_half_pixel")
        attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": turned}
        if self.opset > 17 and self.chance(0.3):
            attrs["antialias"] = 1
        roi = np.asarray([0.0] * len(shape) + [1.0] * len(shape), np.float32)
        moved = [n if i < len(shape) - 2 else self.upto(1, 9) for i, n in enumerate(shape)]
        if self.chance(0.5):
            factors = [m / max(n, 1) for m, n in zip(moved, shape, strict=True)]
            return [self.array(shape), roi, np.asarray(factors, np.float32)], attrs
        return [self.array(shape), roi, None, self.ints(moved)], attrs

    def slice(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axes = self.rng.permutation(len(shape))[: self.upto(1, len(shape))]

        def some() -> Array:
            return self.ints(self.rng.integers(-6, 7, len(axes)))

        steps = self.ints([self.pick(1, 1, 2, -1, -2) for _ in axes])
        return [self.array(shape), some(), some(), self.ints(axes), steps][: self.pick(4, 5)], {}

    def split(self) -> Case:
        shape = self.shape(self.upto(1, 4))
        axis = self.axis(len(shape))
        if self.chance(0.3):
            shape[axis] = self.pick(2, 4)
            return [self.array(shape)], {"axis": axis} | ({"num_outputs": 2} if self.opset > 17 else {})
        first = self.upto(0, shape[axis])
        if self.opset < 13:
            return [self.array(shape)], {"axis": axis, "split": [first, shape[axis] - first]}
        return [self.array(shape), self.ints([first, shape[axis] - first])], {"axis": axis}

    def squeeze(self) -> Case:
        shape = self.shape()
        axes = [i for i, n in enumerate(shape) if n == 1]
        if self.opset < 13:
            return [self.array(shape)], {"axes": axes} if axes else {}
        return [self.array(shape), self.ints(axes)], {}

    def unsqueeze(self) -> Case:
        shape = self.shape(self.upto(0, 3))
        axes = [self.upto(0, len(shape))]
        if self.opset < 13:
            return [self.array(shape)], {"axes": axes}
        return [self.array(shape), self.ints(axes)], {}

    def tile(self) -> Case:
        shape = self.shape()
        return [self.array(shape), self.ints([self.upto(0, 3) for _ in shape])], {}

    def transpose(self) -> Case:
        shape = self.shape()
        return [self.array(shape)], {"perm": self.rng.permutation(len(shape)).tolist()} if shape else {}


MAKERS: dict[str, Callable[[Maker], Case]] = {
    **dict.fromkeys(["Max", "Mean", "Min", "Sum"], Maker.several),
    **dict.fromkeys(
        ["Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Pow", "PRelu", "Sub"],
        Maker.broadcast),
    **dict.fromkeys(["And", "Or", "Xor"], Maker.truth),
    **dict.fromkeys(["BitwiseAnd", "BitwiseOr", "BitwiseXor"], Maker.bits),
    "BitShift": Maker.shifted, "BitwiseNot": lambda m: (m.bits()[0][:1], {}),
    "Not": lambda m: (m.truth()[0][:1], {}), "Mod": Maker.remainder,
    **dict.fromkeys(["ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
                     "ReduceSumSquare"], Maker.axes),
    **dict.fromkeys(["ArgMax", "ArgMin", "Hardmax", "LogSoftmax", "Softmax"], Maker.along),
    **dict.fromkeys(["AveragePool", "MaxPool"], Maker.pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool"], Maker.images),
    **dict.fromkeys(["DepthToSpace", "SpaceToDepth"], Maker.blocks),
    "Where": Maker.where, "Clip": Maker.clip, "BatchNormalization": Maker.norm,
    "InstanceNormalization": Maker.instance_norm, "LayerNormalization": Maker.layer_norm,
    "QuantizeLinear": Maker.quantize, "DequantizeLinear": Maker.dequantize, "MatMul": Maker.matmul, "Gemm": Maker.gemm,
    "Conv": Maker.conv, "ConvTranspose": Maker.conv_transpose, "Cast": Maker.cast, "CastLike": Maker.cast_like,
    "Dropout": Maker.dropout, "CumSum": Maker.cumsum, "TopK": Maker.top, "Trilu": Maker.trilu, "Shape": Maker.extent,
    "ConstantOfShape": Maker.filled, "EyeLike": Maker.eye, "OneHot": Maker.one_hot, "Range": Maker.range,
    "Concat": Maker.concat, "Expand": Maker.expand, "Flatten": Maker.flatten, "Gather": Maker.gather,
    "GatherElements": Maker.gather_elements, "GatherND": Maker.gather_nd, "ScatterElements": Maker.scatter_elements,
    "ScatterND": Maker.scatter_nd, "Pad": Maker.pad, "Reshape": Maker.reshape, "Resize": Maker.resize,
    "Slice": Maker.slice, "Split": Maker.split, "Squeeze": Maker.squeeze, "Unsqueeze": Maker.unsqueeze,
    "Tile": Maker.tile, "Transpose": Maker.transpose,
}  # fmt: skip


# -- damage -----------------------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def damage(rng: Rng, op: str, operands: list[Array | None], attrs: dict[str, Any], opset: int) -> None:
    """Change one thing."""
    kind = rng.integers(7)
    at = int(rng.integers(len(operands))) if operands else 0
    if kind < 3:
        _damage_attribute(rng, op, attrs, opset)
    elif kind == 3 and operands:
        operands[at] = _reshaped(rng, operands[at])
    elif kind == 4 and operands:
        operands[at] = _changed(rng, operands[at])
    elif kind == 5 and operands:
        given = operands[at]
        drop = given is None or rng.random() < 0.3
        operands[at] = None if drop else np.asarray(given, DTYPES[rng.integers(len(DTYPES))])
    elif rng.random() < 0.5 and operands:
        del operands[at:]
    else:
        operands.append(np.asarray(rng.integers(-9, 9, int(rng.integers(4)))))


def _absurd(rng: Rng) -> int:
    return ABSURD[rng.integers(len(ABSURD))] if rng.random() < 0.7 else int(rng.integers(-9, 10))


def _damage_attribute(rng: Rng, op: str, attrs: dict[str, Any], opset: int) -> None:
    known = {name: a.type.name for name, a in onnx.defs.get_schema(op, opset, "").attributes.items()}
    names = [*known] * 3 + [*attrs] + ["nonsense", "axis", "axes"]
    name = names[rng.integers(len(names))]
    kind = (
        known.get(name, "INT") if rng.random() < 0.9 else ["INT", "INTS", "FLOAT", "STRING", "TENSOR"][rng.integers(5)]
    )
    if rng.random() < 0.1:
        attrs.pop(name, None)
    elif kind == "INT":
        attrs[name] = _absurd(rng)
    elif kind == "INTS":
        values = list(attrs[name]) if isinstance(attrs.get(name), list) else [1] * int(rng.integers(1, 6))
        if values and rng.random() < 0.8:
            values[rng.integers(len(values))] = _absurd(rng)
        else:
            values = values[1:] if rng.random() < 0.5 else values * 2
        if values:
            attrs[name] = values
    elif kind == "FLOAT":
        attrs[name] = float(rng.choice([np.nan, np.inf, -np.inf, 0, 1e30, -1e-30]))
    elif kind == "STRING":
        attrs[name] = TEXTS[rng.integers(len(TEXTS))]
    elif kind == "TENSOR":
        given = rng.integers(3, size=2).tolist()
        attrs[name] = onnx.TensorProto(data_type=int(rng.choice([1, 7, 9])), dims=given[:1], int64_data=given[1:])


def _reshaped(rng: Rng, array: Array | None) -> Array:
    """Other values in another shape; some are long."""
    dtype = np.float32 if array is None else array.dtype
    shape = [] if array is None else list(array.shape)
    kind = rng.integers(4)
    if kind == 0 or not shape:
        shape.insert(int(rng.integers(len(shape) + 1)), int(rng.integers(3)))
    elif kind == 1:
        del shape[int(rng.integers(len(shape)))]
    else:
        shape[int(rng.integers(len(shape)))] = int(rng.choice([0, 1, 2, 3, 6, 65536 if kind == 3 else 8]))
    if np.prod(shape) > 2**20:
        shape = [2**16]
    return np.asarray(rng.integers(0, 3, shape)).astype(dtype)


def _changed(rng: Rng, array: Array | None) -> Array | None:
    if array is None or not array.size:
        return array
    array = array.copy()
    at = np.unravel_index(int(rng.integers(array.size)), array.shape)
    if array.dtype.kind == "f":
        array[at] = rng.choice([np.nan, np.inf, 1e30, -1e30, 0, 65504])
    elif array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        array[at] = min(max(_absurd(rng), limits.min), limits.max)
    return array


# -- the worker -------------------------------------------------------------------------------------------------------


def prepare() -> None:
    import bnn
    from bnn.importers.onnx.run import packages

    packages()
    case(0)
    bnn.compile(_model("Relu", [np.ones((2, 3), np.float32)], {}, 17, ["y0"], "")[0])


def drawn(number: int, damaged: bool = True) -> tuple[Rng, str, list[Array | None], dict[str, Any], int]:
    from bnn.importers.onnx.run import PURE

    rng = np.random.default_rng(number)
    ops = sorted(PURE)
    op, opset = ops[rng.integers(len(ops))], int(rng.choice(OPSETS))
    opset = max(opset, min(v for v in OPSETS if onnx.defs.has(op, v, "")))
    operands, attrs = MAKERS.get(op, Maker.unary)(Maker(rng, opset))
    while damaged and rng.random() < 0.5:
        damage(rng, op, operands, attrs, opset)
    while operands and operands[-1] is None:
        operands.pop()
    return rng, op, operands, attrs, opset


def _model(
    op: str, operands: list[Array | None], attrs: dict[str, Any], opset: int, outputs: list[str], batch: int | str
) -> tuple[Any, Any]:
    """A model of one operator: its first operand is the data; and its node."""
    names = ["" if o is None else f"i{k}" for k, o in enumerate(operands)]
    node = helper.make_node(op, names, outputs, name="node", **attrs)
    weights = [numpy_helper.from_array(o, f"i{k}") for k, o in enumerate(operands) if k and o is not None]
    first = operands[0] if operands else None
    shape = [] if first is None else [batch or len(first), *first.shape[1:]] if first.ndim else []
    kind = 1 if first is None else helper.np_dtype_to_tensor_dtype(first.dtype)
    given = [helper.make_tensor_value_info("i0", kind, shape)]
    end = helper.make_tensor_value_info("y0", 1, None)
    graph = helper.make_graph([node], "one", given, [end], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), node


def case(number: int) -> str:
    """What became of a case: "ran" or "compiled"; refused ones raise a BnnError."""
    rng, op, operands, attrs, opset = drawn(number)
    count = 1
    if op in ("Split", "MaxPool", "Dropout", "TopK") or rng.random() < 0.05:
        count = int(rng.choice([1, 2, 2, 2, 3]))
    outputs = [f"y{k}" if k == 0 or rng.random() < 0.8 else "" for k in range(count)]
    try:
        whole = rng.random() < 0.25
        return (_whole if whole else _alone)(rng, op, operands, attrs, opset, outputs)
    except CompileError as error:
        assert " gives " not in str(error) or "expected" not in str(error), f"its rule is wrong: {error}"
        raise


def _alone(
    rng: Rng, op: str, operands: list[Array | None], attrs: dict[str, Any], opset: int, outputs: list[str]
) -> str:
    from bnn.importers.onnx.protos import OnnxGraph, _node
    from bnn.importers.onnx.run import OnnxRunner

    node = _node(onnx, _model(op, operands, attrs, opset, outputs, "")[1])
    OnnxRunner(OnnxGraph([], {}, [], [], opset))(node, operands)
    return "ran"


def _whole(
    rng: Rng, op: str, operands: list[Array | None], attrs: dict[str, Any], opset: int, outputs: list[str]
) -> str:
    import bnn

    proto, _ = _model(op, operands, attrs, opset, outputs, "N" if rng.random() < 0.5 else "")
    compiled = bnn.compile(proto)
    first = operands[0]
    assert first is not None
    bnn.verify(proto, compiled, first)
    return "compiled"
