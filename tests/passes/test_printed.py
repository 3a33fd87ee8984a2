# SPDX-License-Identifier: Apache-2.0
"""Each pass on a small graph, before and after as text."""

from __future__ import annotations

import numpy as np

from bnn.ir import spec
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import Level, PadAttrs, constant, input_node, make
from bnn.passes import PIPELINE, lower
from bnn.passes.binarize import binarize
from bnn.passes.canonicalize import canonicalize
from bnn.passes.choose_layout import choose_layout
from bnn.passes.cse import cse
from bnn.passes.fold_constants import fold_constants
from bnn.passes.fuse_epilogue import fuse_epilogue
from bnn.passes.plan_arena import plan_arena
from bnn.passes.schedule import schedule
from bnn.passes.to_thresholds import to_thresholds

from .build import bits, bn, channel, conv, dense, graph, pool, quantizer

X = input_node("x", (4, 4, 2))
B = bits(X)


def text(*lines: str) -> str:
    return "\n".join(lines)


def after(function: object, *outputs: Node) -> str:
    level = dict(PIPELINE)[function]  # type: ignore[index]
    result = function(graph(*outputs))  # type: ignore[operator]
    spec.verify(result, level, "the pass")
    return str(result)


def test_canonicalize() -> None:
    padded = make("pad", X, attrs=PadAttrs((1, 0, 2, 1), 0.0), name="zeros")
    y = make("add", channel([1, 2]), conv(padded, 2, 3, pads=(0, 1, 0, 0)), name="sum")
    assert after(canonicalize, y) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        '%1 = conv2d(%0, const <float32 [2, 3, 3, 2]>, pads=(1, 1, 2, 1)) : f32[5, 4, 2]  "conv"',
        '%2 = add(%1, const [1, 2]) : f32[5, 4, 2]  "sum"',
        "return %2",
    )


def test_fold_constants() -> None:
    four = make("mul", constant([2.0]), make("add", constant([1.0]), constant([1.0])))
    both = make("concat", constant([1.0, 2.0]), make("sign", constant([-3.0])))
    y = make("concat", make("add", X, four, name="a"), make("add", X, four, name="b"), name="c")
    assert after(fold_constants, y, make("sub", input_node("z", (3,)), both, name="d")) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        '%1 = input(label=z, shape=(3)) : f32[3]  "z"'.replace("(3)", "(3,)"),
        '%2 = add(%0, const [4]) : f32[4, 4, 2]  "a"',
        '%3 = add(%0, const [4]) : f32[4, 4, 2]  "b"',
        '%4 = concat(%2, %3) : f32[4, 4, 4]  "c"',
        '%5 = sub(%1, const [1, 2, -1]) : f32[3]  "d"',
        "return %4, %5",
    )


def test_binarize_moves_bits_through_what_moves_values() -> None:
    minus = make("pad", pool(B, (2, 2)), attrs=PadAttrs((0, 0, 1, 0), -1.0), name="minus")
    y = dense(make("concat", minus, minus, name="both"), 1)
    assert after(binarize, y) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        '%1 = binarize(%0) : b1[4, 4, 2]  "quantizer"',
        '%2 = max_pool(%1, kernel=(2, 2), stride=(2, 2)) : b1[2, 2, 2]  "pool"',
        '%3 = pad(%2, pads=(0, 0, 1, 0), value=-1.0) : b1[3, 2, 2]  "minus"',
        '%4 = concat(%3, %3) : b1[3, 2, 4]  "both"',
        '%5 = reshape(%4, shape=(24,)) : b1[24]  "flatten"',
        '%6 = bconv2d(%5, const <int8 [1, 1, 1, 24]>) : f32[1]  "dense"',
        "return %6",
    )


def test_to_thresholds() -> None:
    acc = make("bconv2d", B.inputs[0], constant([[[[1, 1]]], [[[1, -1]]]], B.inputs[0].type.dtype), name="conv")
    y = fuse_epilogue(graph(bn(acc, mean=[0, 1], gamma=[1, -1], beta=[0, 0]))).outputs[0]
    assert after(to_thresholds, make("binarize", y, name="next")) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        '%1 = binarize(%0) : b1[4, 4, 2]  "quantizer"',
        "%2 = bconv2d(%1, const [1, 1, -1, 1], const [0, -1], const [-1, 1], slots=('threshold', 'negated'), out=b1) "
        ': b1[4, 4, 2]  "conv"',
        "return %2",
    )
    rising, falling = make("conv2d", X, constant(np.ones((2, 1, 1, 2))), name="float"), "binarize"
    assert str(to_thresholds(graph(make(falling, rising)))).splitlines()[1:] == [
        '%1 = conv2d(%0, const [1, 1, 1, 1], out=b1) : b1[4, 4, 2]  "float"',
        "return %1",
    ]


def test_cse() -> None:
    y = make("sub", make("sign", X, name="first"), make("sign", X, name="second"), name="difference")
    assert after(cse, y) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        '%1 = sign(%0) : f32[4, 4, 2]  "first"',
        '%2 = sub(%1, %1) : f32[4, 4, 2]  "difference"',
        "return %2",
    )


def planned() -> Graph:
    y = make("conv2d", X, constant(np.ones((3, 3, 3, 2))), attrs=conv(X, 1, 3, pads=(1, 2, 0, 1)).attrs, name="conv")
    z = make("bconv2d", make("binarize", y, name="q"), make("constant", attrs=signs((1, 1, 1, 3)).attrs), name="last")
    return choose_layout(Graph((X,), (z, X), ("z", "x")))


def signs(shape: tuple[int, ...]) -> Node:
    return constant(np.ones(shape), B.inputs[0].type.dtype)


def test_choose_layout_schedule_and_plan() -> None:
    laid = planned()
    assert not laid.schedule and laid.arena_bytes == 0
    ordered = schedule(laid)
    assert [n.op for n in ordered.schedule] == ["copy", "conv2d", "binarize", "bconv2d", "copy"]
    final = plan_arena(ordered)
    for step in (laid, ordered, final):
        spec.verify(step, Level.RUNTIME, "a pass")
    assert str(final) == text(
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2] @input+0  "x"',
        '%1 = copy(%0) : f32[4, 4, 2] @arena+0 halo 1,2,0,1  "x"',
        '%2 = conv2d(%1, const <float32 [3, 3, 3, 2]>, pads=(1, 2, 0, 1)) : f32[3, 5, 3] @arena+320  "conv"',
        '%3 = binarize(%2) : b1[3, 5, 3] @arena+0  "q"',
        '%4 = bconv2d(%3, const [1, 1, 1]) : f32[3, 5, 1] @output+0  "last"',
        '%5 = copy(%0) : f32[4, 4, 2] @output+1  "x"',
        "return %4, %5",
    )


def test_dump_after() -> None:
    dumped: list[str] = []
    lower(graph(quantizer(X)), "recognize_quantizers", dumped.append)
    assert len(dumped) == 1 and dumped[0].startswith("; after recognize_quantizers\n%0 = input")
    dumped.clear()
    lower(graph(quantizer(X)), "all", dumped.append)
    assert [d.split()[2] for d in dumped] == ["import", *(f.__name__ for f, _ in PIPELINE)]
    dumped.clear()
    lower(graph(quantizer(X)), "import", dumped.append)
    assert len(dumped) == 1 and "sign" in dumped[0]
    assert [n.op for n in lower(graph(quantizer(X)), until="canonicalize").nodes()].count("sign") == 2
