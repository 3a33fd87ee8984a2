# SPDX-License-Identifier: Apache-2.0
"""int16 values: every kernel family against the oracle, over all numbers and over all layouts of convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import OPS, REQUANTIZATION, ConvAttrs, constant, input_node, make
from bnn.runtime import Model, available_kernels
from op_graphs import SHORT_OPS, floats, plan, taker, values_of

Random = np.random.Generator


def whole(x: Node, factor: int, zero: int) -> Node:
    """(x - zero) * factor of bytes, as int16."""
    c = x.type.shape[-1]
    numbers = ([0] * c, [2**30] * c, [factor.bit_length()] * c, [0, -(2**15), 2**15 - 1, 0])
    operands = (
        constant(np.ones((c, 1, 1, 1)), DType.i8),
        constant([zero] * c),
        *(constant(v, DType.i32) for v in numbers),
    )
    attrs = ConvAttrs(groups=c, slots=("zeros", *REQUANTIZATION), out=DType.i16)
    return make("qconv2d", x, *operands, attrs=attrs)


def check(inputs: list[Node], outputs: list[Node], images: list[Array]) -> None:
    graph = plan(inputs, outputs)
    expected = interpret.outputs(graph, images)
    for family in available_kernels():
        model = Model.from_bytes(encode(graph), kernels=family)
        for threads in (1, 3):
            found = model.predict(images, threads=threads)
            for one, right in zip(found if len(outputs) > 1 else [found], expected, strict=True):
                np.testing.assert_array_equal(one, right, err_msg=f"{family}, {threads} threads")


def test_all_numbers(rng: Random) -> None:
    """Each of the 65,536 once, in channels by their high bytes: what the ops make of them."""
    x, y = inputs = [input_node(name, (16, 16, 256), DType.u8) for name in "xy"]
    value = make("add16", whole(x, 256, 128), whole(y, 1, 0))
    outputs = [floats(value)] + [floats(SHORT_OPS[name](rng, value)) for name in SHORT_OPS for _ in range(3)]
    high = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 16, 16, 256))
    images = [
        np.ascontiguousarray(high),
        np.ascontiguousarray(high.reshape(1, 256, 256).transpose(0, 2, 1)).reshape(high.shape),
    ]
    found = interpret.outputs(plan(inputs, [floats(value)]), images)[0]
    numbers = (found[..., :256] - 128) * 256 + (found[..., 256:] - 128) % 256
    assert sorted(numbers.reshape(-1).tolist()) == list(range(-(2**15), 2**15))
    check(inputs, outputs, images)


@pytest.mark.parametrize("op", ["bconv2d", "qconv2d"])
@pytest.mark.parametrize("channels", [3, 16, 40, 64, 130])
def test_convolutions(op: str, channels: int, rng: Random) -> None:
    """Depthwise or not, of any windows, and by pools that take rows."""
    for _ in range(6):
        x = input_node("x", (*rng.integers(5, 12, 2).tolist(), channels), DType.u8 if op == "qconv2d" else DType.f32)
        data = make("copy" if op == "qconv2d" else "binarize", x)
        maker = OPS[op].maker
        assert maker is not None
        while (node := maker(rng, data)).type.dtype is not DType.i16:
            pass
        read = taker(rng, node) if len(node.type.shape) == 3 and rng.random() < 0.5 else node
        check([x], [floats(read)], [values_of(rng, 3, x)])
