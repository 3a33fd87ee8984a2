# SPDX-License-Identifier: Apache-2.0
"""Every operator that is read, in every version of its definition, with every attribute left out and given, alone in a
model: the graph that is read of it gives what ONNX Runtime gives, or it is refused for the reason that is listed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx
import onnxruntime
from onnx import helper, numpy_helper
from packaging.version import Version

import bnn
from bnn._types import Array
from bnn.errors import CompileError
from bnn.importers.onnx.ops import ALIASES, MOVES, READERS
from bnn.importers.onnx.protos import NEW_OPSET
from bnn.ir.ops import CURVES

from .small import as_read, newest_opset, session_of

NEWEST = newest_opset()
OWN = sorted(op for op in {*READERS, *MOVES, *ALIASES} if onnx.defs.has(op))


def distinct(*shape: int) -> Array:
    """Eighths, each another one, so that none can stand for another."""
    count = int(np.prod(shape))
    values = np.random.default_rng(count).permutation(count) - count // 3
    return (values / 8).astype(np.float32).reshape(shape)


def numbers(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def scalar(value: float) -> Array:
    return np.asarray(value, np.float32)


class Call(NamedTuple):
    """An operator's operands, those that depend on the data by name: "x", "b" and "c": x > 0 and x < 1, "q": bytes."""

    operands: list[Any]
    attrs: dict[str, Any] = {}
    x: Array = distinct(3, 4, 6, 8)
    outputs: int = 1
    fixed: bool = False  # the number of images


PRE = {
    "b": helper.make_node("Greater", ["x", "zero"], ["b"]),
    "c": helper.make_node("Less", ["x", "one"], ["c"]),
    "q": helper.make_node("QuantizeLinear", ["x", "one", "two"], ["q"]),
}
KNOWN = {"zero": scalar(0), "one": scalar(1), "two": np.asarray(2, np.uint8)}
ROWS, OTHER = distinct(3, 8), distinct(4, 1, 1) + 1


def calls(op: str, opset: int) -> list[Call]:
    """The operator with what it must have; a function of one or two values needs no case of its own."""
    made = CALLS.get(op)
    if made is None:
        least = onnx.defs.get_schema(op, opset, "").min_input
        assert op not in MOVES and least < 3, f"no case for {op}: add it to CALLS"
        return [Call(["x"])] if least == 1 else [Call(["x", OTHER]), Call([OTHER, "x"])]
    return made(opset) if callable(made) else made


def reduced(opset: int, op: str) -> list[Call]:
    given = opset >= (13 if op == "ReduceSum" else 18)
    more = [["x", numbers(2, -1)], ["x", numbers(1, 2, 3)], ["x", numbers()]] if given else []
    return [Call(["x"], {} if given else {"axes": [2, 3]}), *(Call(operands) for operands in [["x"], *more])]


def axes(opset: int, operands: list[Any], *values: int) -> Call:
    """Axes as an attribute, or as an operand since version 13."""
    if opset < 13:
        return Call(operands[:1], {"axes": list(values)}, operands[1])
    return Call([operands[0], numbers(*values)], {}, operands[1])


W, B, PER = distinct(6, 4, 2, 3), distinct(6), distinct(4)
CALLS: dict[str, Any] = {
    "And": [Call(["b", "c"])], "Or": [Call(["b", "c"])], "Xor": [Call(["b", "c"])], "Not": [Call(["b"])],
    "Where": [Call(["b", "x", distinct(4, 1, 1)]), Call(["c", scalar(1), "x"])],
    "AveragePool": [Call(["x"], {"kernel_shape": [2, 2]}), Call(["x"], {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1]}),
                    Call(["x"], {"kernel_shape": [3], "pads": [1, 1]}, distinct(3, 4, 9)),
                    *(Call(["x"], {"kernel_shape": [k, k], "strides": [5 - k] * 2}) for k in (2, 3))],
    "MaxPool": [Call(["x"], {"kernel_shape": [2, 2]}), Call(["x"], {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1]}),
                Call(["x"], {"kernel_shape": [3], "pads": [1, 1]}, distinct(3, 4, 9)),
                *(Call(["x"], {"kernel_shape": [k, k], "strides": [5 - k] * 2}) for k in (2, 3))],
    "BatchNormalization": [Call(["x", PER, PER[::-1], PER / 2, abs(PER)]),
                           Call(["x", PER, PER[::-1], PER / 2, abs(PER)], {}, distinct(3, 4))],
    "Cast": [Call(["x"], {"to": 1}), Call(["b"], {"to": 1}), Call(["q"], {"to": 1})],
    "CastLike": [Call(["x", floats(0)]), Call(["b", floats(0)]), Call(["x", np.zeros(1, bool)])],
    "Clip": [Call(["x"]), Call(["x", scalar(-1)]), Call(["x", None, scalar(2)]), Call(["x", scalar(-1), scalar(2)])],
    "Concat": [Call(["x", "x"], {"axis": 1})],
    "Conv": [Call(["x", W]), Call(["x", W, B], {"pads": [1, 2, 0, 1], "strides": [2, 1]}),
             Call(["x", distinct(6, 4, 3), B], {"dilations": [2]}, distinct(3, 4, 9)),
             Call(["x", distinct(6, 2, 2, 3)], {"group": 2})],
    "ConvTranspose": [Call(["x", distinct(4, 6, 2, 3)]),
                      Call(["x", distinct(4, 6, 2, 3), B], {"pads": [1, 0, 0, 1], "strides": [2, 3]}),
                      Call(["x", distinct(4, 6, 5, 2)], {"pads": [3, 1, 4, 2], "strides": [2, 1]}),
                      Call(["x", distinct(4, 6, 3)], {"strides": [2]}, distinct(3, 4, 9))],
    "DepthToSpace": [Call(["x"], {"blocksize": 2}, distinct(3, 8, 2, 3))],
    "SpaceToDepth": [Call(["x"], {"blocksize": 2})],
    "Dropout": lambda opset: [Call(["x"])] if opset < 12 else [
        Call(["x"]), Call(["x", scalar(0.25)]), Call(["x", scalar(0.25), np.asarray(False)])],
    "Expand": [Call(["x", numbers(1, 4, 6, 8)], {}, distinct(3, 4, 1, 8))],
    "Flatten": [Call(["x"])],
    "Gather": [Call(["x", numbers(2, 0, -1)], {"axis": 1}), Call(["x", np.asarray(1)], {"axis": 2})],
    "GatherElements": [Call(["x", np.arange(96).reshape(1, 4, 3, 8) % 4], {"axis": 2}, distinct(1, 4, 6, 8),
                            fixed=True)],
    "GatherND": [Call(["x", numbers(2, 2, 2).reshape(3, 1)], {}, distinct(3, 4, 6), fixed=True)],
    "Gemm": [Call(["x", distinct(8, 5)], {}, ROWS), Call(["x", distinct(8, 5), distinct(5)], {}, ROWS),
             Call(["x", distinct(8, 8), scalar(3)], {}, ROWS),
             Call(["x", distinct(8, 8)], {}, distinct(8, 8), fixed=True)],
    **dict.fromkeys(["Max", "Mean", "Min", "Sum"], [Call(["x"]), Call(["x", OTHER, scalar(2), "x"])]),
    "MatMul": [Call(["x", distinct(8, 5)], {}, ROWS), Call(["x", distinct(8, 5)], {}, distinct(3, 4, 8)),
               Call(["x", distinct(8, 5)])],
    "PRelu": [Call(["x", distinct(4, 1, 1)]), Call(["x", floats(0.5)]),
              Call(["x", distinct(4, 1)], {}, distinct(3, 4, 4, 5))],
    "Pad": lambda opset: [
        Call(["x", numbers(0, 0, 1, 2, 0, 1, 0, 3)]), Call(["x", numbers(0, 0, -1, 0, 0, 0, 2, -2), scalar(7)]),
        *([Call(["x", numbers(1, 2, 0, 3), scalar(7), numbers(3, -2)])] if opset > 17 else [])],
    "Pow": [Call(["x", scalar(2)]), Call(["x", scalar(1.5)]), Call(["x", scalar(3)])],
    "QuantizeLinear": [
        Call(["x", scalar(0.5)]), Call(["x", scalar(0.25), np.asarray(3, np.int8)]),
        Call(["x", floats(0.5, 0.25, 1, 2), np.array([0, 3, 1, 255], np.uint8)], {}, distinct(3, 4, 4, 4))],
    "DequantizeLinear": [
        Call(["q", scalar(0.5)]), Call(["q", scalar(0.25), np.asarray(3, np.uint8)]),
        Call(["q", floats(0.5, 0.25, 1, 2), np.array([0, 3, 1, 255], np.uint8)], {}, distinct(3, 4, 4, 4))],
    **{f"Reduce{op}": lambda opset, op=f"Reduce{op}": reduced(opset, op)
       for op in ("L2", "Max", "Mean", "Min", "Sum", "SumSquare")},
    "LogSoftmax": [Call(["x"]), Call(["x"], {}, ROWS)], "Softmax": [Call(["x"]), Call(["x"], {}, ROWS)],
    "Reshape": [Call(["x", numbers(0, -1, 8)]), Call(["x", numbers(-1, 4, 8, 6)])],
    "Resize": lambda opset: [
        Call(["x", floats(), floats(1, 1, 2, 1.5)]), Call(["x", floats(), floats(1, 1, 0.2, 0.5)]),
        Call(["x", *[floats() if opset < 13 else None] * 2, numbers(3, 4, 4, 11)], fixed=True),
        Call(["x", floats(0, 0, 0.25, 0, 1, 1, 0.75, 1.25), floats(1, 1, 2, 1.5)],
             {"coordinate_transformation_mode": "tf_crop_and_resize"}),
        Call(["x", floats(), floats(1, 1, 0.6, 0.7)], {"mode": "cubic"}),
        *([Call(["x", None, floats(2, 1.5)], {"axes": [2, 3]})] if opset > 17 else [])],
    "Slice": [Call(["x", numbers(1), numbers(3)]), Call(["x", numbers(2, -5), numbers(-1, 5), numbers(-1, 2)]),
              Call(["x", numbers(5, 1), numbers(-9, 7), numbers(2, -1), numbers(-2, 3)])],
    "Split": lambda opset: [Call(["x"], {"axis": 1} | ({"num_outputs": 2} if opset > 17 else {}), outputs=2),
                            *([Call(["x", numbers(1, 3)], {"axis": 1}, outputs=2)] if opset > 12 else [])],
    "Squeeze": lambda opset: [axes(opset, ["x", distinct(3, 1, 6, 1)], 3), Call(["x"], {}, distinct(3, 4, 1, 1))],
    "Unsqueeze": lambda opset: [axes(opset, ["x", distinct(3, 4)], 2), axes(opset, ["x", distinct(3, 4)], 1, -1)],
    "Tile": [Call(["x", numbers(1, 2, 1, 3)])],
    "Transpose": [Call(["x"])],
}  # fmt: skip

# What each attribute may be; "left out" is tried in any case.
AUTO = ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]
VALUES: dict[str, list[Any]] = {
    "axis": [-1, 0, 1, 2, -2], "QuantizeLinear.axis": [-1, 1, 2, -2], "DequantizeLinear.axis": [-1, 1, 2, -2],
    "axes": [[2], [-1], [1], [-2, 3], [1, 2, 3], [0, 1]], "Resize.axes": [[2, 3], [-1, 2], [1, 3]],
    "Squeeze.axes": [[1], [3], [-1]], "keepdims": [0, 1], "noop_with_empty_axes": [0, 1],
    "count_include_pad": [0, 1], "ceil_mode": [0, 1], "storage_order": [0, 1], "kernel_shape": [[2, 3]],
    "pads": [[1, 0, 0, 1], [0, 1, 1, 0]], "auto_pad": AUTO, "strides": [[2, 1], [1, 3]], "dilations": [[1, 2], [2, 1]],
    "group": [1, 2], "output_padding": [[1, 0], [0, 1]], "output_shape": [[12, 23], [7, 10]],
    "alpha": [0.5, 1.0, 2.0], "beta": [0.25, 1.0], "gamma": [2.0], "epsilon": [0.5], "momentum": [0.5],
    "training_mode": [0, 1], "to": [1, 2, 3, 6, 7, 9, 10, 11], "saturate": [0, 1],
    "round_mode": ["up", "down", "nearest"], "ratio": [0.25], "seed": [3], "batch_dims": [0, 1],
    "approximate": ["none", "tanh"], "transA": [0, 1], "transB": [0, 1], "blocksize": [1, 2],
    "DepthToSpace.mode": ["DCR", "CRD"], "SpaceToDepth.mode": ["DCR", "CRD"],
    "Pad.mode": ["constant", "reflect", "edge", "wrap"], "Resize.mode": ["nearest", "linear", "cubic"],
    "perm": [[0, 2, 3, 1], [0, 1, 3, 2], [1, 0, 2, 3]], "split": [[1, 3], [2, 2]], "num_outputs": [2],
    "allowzero": [0, 1], "precision": [0, 1, 10], "QuantizeLinear.output_dtype": [0, 2, 3, 4, 5],
    "DequantizeLinear.output_dtype": [0, 1, 10], "block_size": [0, 2], "extrapolation_value": [1.0],
    "exclude_outside": [0, 1], "cubic_coeff_a": [-0.5], "antialias": [0, 1],
    "nearest_mode": ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
    "coordinate_transformation_mode": ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                       "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"],
    "keep_aspect_ratio_policy": ["stretch", "not_larger", "not_smaller"],
}  # fmt: skip

# (operators, whether these attributes are refused in a version and a call, message), besides what mixes images.
REFUSED: list[tuple[str, Callable[[dict[str, Any], int, Call], object], str]] = [
    ("AveragePool|MaxPool", lambda a, *_: "dilations" in a or a.get("storage_order"), "dilations or a storage order"),
    ("AveragePool|MaxPool", lambda a, *_: a.get("ceil_mode") and a.get("strides") == [2, 2], "ceil_mode"),
    ("BatchNormalization", lambda a, *_: a.get("training_mode"), "in training mode"),
    ("Cast", lambda a, *_: a["to"] not in (1, 9, 10, 16), "only float32 arithmetic is supported"),
    ("ConvTranspose", lambda a, *_: "dilations" in a or a.get("group", 1) > 1, "groups or dilations"),
    ("DequantizeLinear", lambda a, *_: a.get("output_dtype", 0) > 1, "only float32 arithmetic is supported"),
    ("Gemm", lambda a, *_: a.get("transA") or a.get("alpha", 1) != 1, "factors other than 1"),
    ("Gemm", lambda a, _, c: a.get("beta", 1) != 1 and len(c.operands) > 2, "factors other than 1"),
    ("LogSoftmax|Softmax", lambda a, v, c: v < 13 and a.get("axis", 1) % c.x.ndim != c.x.ndim - 1, r"axis \d of 4 in"),
    ("Pad", lambda a, _, c: a.get("mode", "constant") != "constant" and min(c.operands[1]) < 0, "padding -1, 2 of 6"),
    ("PRelu", lambda _, __, c: c.operands[1].shape == (4, 1), "one per channel"),
    ("Pow", lambda _, __, c: c.operands[1] == "x", "operand 1 depends on the data"),
    (
        "ReduceL2|ReduceSumSquare",
        lambda a, v, c: a.get("noop_with_empty_axes") and (len(c.operands) < 2 or not len(c.operands[1])),
        "noop_with_empty_axes",
    ),
    ("Resize", lambda a, *_: a.get("mode", "nearest") != "nearest", "which computes new values"),
    ("Resize", lambda a, *_: "crop" in a.get("coordinate_transformation_mode", ""), "new values|cannot be executed"),
    ("Resize", lambda a, *_: a.get("keep_aspect_ratio_policy", "stretch") != "stretch", "keep_aspect_ratio_policy"),
    ("Selu", lambda a, *_: "alpha" in a or "gamma" in a, "factors other than the usual ones"),
    ("Unsqueeze", lambda a, *_: a.get("axes") == [1, 2, 3], "two to four are supported"),
]
MIXED = "the batch first|over the batch|keep the batch|padding of the batch|axis 0 of|depends on the data"
# Of what ONNX Runtime does not run; nothing says what the operator gives.
UNJUDGED = "NOT_IMPLEMENTED|Dilation not supported|padding values must be non-negative|saturate|round_mode|num_outputs"
# Values that make no difference to any case, or that ONNX Runtime takes for none.
DULL: dict[str, list[Any]] = {
    "momentum": [0.5], "ratio": [0.25], "seed": [3], "saturate": [0], "round_mode": ["down", "nearest"],
    "training_mode": [1], "Conv.kernel_shape": [[2, 3]], "ConvTranspose.kernel_shape": [[2, 3]], "block_size": [2],
    "DequantizeLinear.output_dtype": [1], "QuantizeLinear.output_dtype": [2], "storage_order": [1],
    "precision": [1, 10], "allowzero": [1], "split": [[2, 2]], "auto_pad": ["VALID"], "AveragePool.auto_pad": [],
    "MaxPool.auto_pad": [],
}  # fmt: skip
# Operators whose results round in another order.
ROUNDED = frozenset(
    {
        "AveragePool",
        "Gelu",
        "GlobalAveragePool",
        "LogSoftmax",
        "Mish",
        "Pow",
        "ReduceL2",
        "ReduceMean",
        "ReduceSumSquare",
        "Softmax",
        "Softplus",
    }
    | {op.name.capitalize() for op in CURVES if op.truth and op.truth.ulps > 0.5} - {"Elu"}
)


def versions(op: str) -> list[int]:
    """The first and the last version of each definition with other attributes, defaults or numbers of operands."""
    found: dict[Any, list[int]] = {}
    for opset in range(NEW_OPSET, NEWEST + 1):
        if onnx.defs.has(op, opset, ""):
            s = onnx.defs.get_schema(op, opset, "")
            attributes = sorted((a.name, a.required, str(a.default_value)) for a in s.attributes.values())
            found.setdefault((str(attributes), s.min_input, s.max_input), []).append(opset)
    return sorted({v for known in found.values() for v in (known[0], known[-1])})


def model(op: str, call: Call, attrs: dict[str, Any], opset: int) -> Any:
    names = [o if isinstance(o, str) else "" if o is None else f"w{i}" for i, o in enumerate(call.operands)]
    outputs = [f"y{i}" for i in range(call.outputs)]
    before = [PRE[name] for name in PRE if name in names]
    weights = [numpy_helper.from_array(o, f"w{i}") for i, o in enumerate(call.operands) if isinstance(o, np.ndarray)]
    weights += [numpy_helper.from_array(v, k) for k, v in (KNOWN if before else {}).items()]
    x = helper.make_tensor_value_info("x", 1, [len(call.x) if call.fixed else "N", *call.x.shape[1:]])
    nodes = [*before, helper.make_node(op, names, outputs, name="node", **attrs)]
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "one", [x], ends, weights)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def expected(proto: Any, call: Call) -> tuple[list[Array], bool]:
    """ONNX Runtime's results, and whether an image's depend on the other images of the batch."""
    session, count = session_of(proto), len(call.x)
    whole, other = (
        session.run(None, {"x": np.concatenate([call.x[:-1], call.x[-1:] + d])}) for d in (0, np.float32(1))
    )
    alone = (
        len(a) == count and np.array_equal(a[:-1], b[:-1], equal_nan=True) for a, b in zip(whole, other, strict=True)
    )
    return whole, not all(alone)


def variants(op: str, call: Call, attributes: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(attribute, its value; None: left out, all attributes)"""
    yield "", None, call.attrs
    for name, attribute in attributes.items():
        values = VALUES.get(f"{op}.{name}") or VALUES.get(name)
        assert values, f"no case for the attribute {name} of {op}: add it to VALUES"
        for value in [*([] if attribute.required else [None]), *values]:
            one_of = (name, "pads") if name == "auto_pad" and op.startswith("Conv") else (name,)
            attrs = {k: v for k, v in call.attrs.items() if k not in one_of}
            yield name, value, attrs if value is None else attrs | {name: value}


def same(a: Array, b: Array, op: str) -> bool:
    b = (b[:, None] if b.ndim == 1 else b).astype(np.float32)
    if op in ROUNDED and a.shape == b.shape:
        return np.allclose(a, b, 2e-6, 2e-6, equal_nan=True)
    return np.array_equal(a, b, equal_nan=True)


def check_compiled(proto: Any, call: Call, expected: list[Array], op: str) -> None:
    """What C computes, and what `verify` says."""
    compiled = bnn.compile(proto)
    found = compiled(call.x)
    assert all(map(same, found if call.outputs > 1 else [found], expected, itertools.repeat(op)))
    assert bnn.verify(proto, compiled, call.x).ok


Outcome = tuple[tuple[tuple[int, ...], bytes], ...] | None


def judged(op: str, call: Call, attrs: dict[str, Any], opset: int, whole: bool) -> Outcome:
    """What ONNX Runtime gives, if it gives anything; ``whole``: compile and verify, too."""
    text, proto, silent = (
        f"{op} of version {opset}, operands {call.operands}, {attrs}",
        model(op, call, attrs, opset),
        "",
    )
    try:
        theirs, mixed = expected(proto, call)
    except Exception as error:  # ONNX Runtime raises many kinds
        theirs, mixed, silent = None, False, f"{error} {attrs}"
    reasons = [why for ops, holds, why in REFUSED if re.fullmatch(ops, op) and holds(attrs, opset, call)]
    reason = "|".join([*reasons, *([MIXED] if mixed else [])])
    try:
        ours = as_read(proto, call.x)
    except CompileError as error:
        assert theirs is None or reason and re.search(reason, str(error)), f"{text}: {error}"
    else:
        assert not reason, f"{text} is read; expected: {reason}"
        assert theirs is not None or re.search(UNJUDGED, silent), f"{text} is read: {silent}"
        assert theirs is None or all(map(same, ours, theirs, itertools.repeat(op))), text
        if whole and theirs is not None:
            check_compiled(proto, call, ours, op)
    return theirs and tuple((r.shape, r.tobytes()) for r in theirs)


@pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version("1.24"),
    reason="ONNX Runtime 1.23, the last for Python 3.10, computes six operators otherwise than ONNX says",
)
@pytest.mark.parametrize("op", OWN)
def test_every_attribute(op: str) -> None:
    for opset in versions(op):
        attributes = onnx.defs.get_schema(op, opset, "").attributes
        seen: dict[str, set[Any]] = {name: set() for name in attributes}
        known: dict[tuple[int, str], Outcome] = {}
        for i, call in enumerate(calls(op, opset)):
            left_out: dict[str, Outcome] = {}
            for name, value, attrs in variants(op, call, attributes):
                key = i, str(sorted(attrs.items()))
                if key not in known:
                    known[key] = judged(op, call, attrs, opset, whole=opset == versions(op)[0] and not name)
                outcome = known[key]
                if value is None:
                    left_out[name] = outcome
                elif outcome and (outcome != left_out.get(name, left_out[""]) or value == call.attrs.get(name)):
                    seen[name].add(str(value))
        for name, attribute in attributes.items():
            default = helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
            default = default.decode() if isinstance(default, bytes) else default
            values = {str(v) for v in VALUES.get(f"{op}.{name}") or VALUES[name] if v != default}
            dull = values - seen[name] - {str(v) for v in DULL.get(f"{op}.{name}", DULL.get(name, ()))}
            assert not dull or not any(known.values()), f"{op}, version {opset}: {name} of {dull} makes no difference"
