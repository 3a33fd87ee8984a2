"""What graphs look like before the other passes see them."""

from __future__ import annotations

from bnn.ir import Node
from bnn.ops import PadChannelsAttrs, ReshapeAttrs, SliceAttrs, constant, input_node, make
from bnn.passes.canonicalize import canonicalize

from .build import graph


def canonical(*outputs: Node) -> list[str]:
    return [n.op for n in canonicalize(graph(*outputs)).nodes() if n.op not in ("input", "constant")]


def test_what_changes_nothing_is_dropped() -> None:
    x = input_node("x", (1, 4, 6))
    idle = make("pad_channels", make("pad", make("slice", x, attrs=SliceAttrs(0, 6))), attrs=PadChannelsAttrs(0, 0))
    assert canonical(make("sigmoid", idle)) == ["sigmoid"]


def test_operands_that_are_reshaped_alike_are_reshaped_later() -> None:
    a, b, c = (make("reshape", input_node(n, (4, 6)), attrs=ReshapeAttrs((1, 4, 6))) for n in "abc")
    difference = make("sub", a, b)
    assert canonical(make("mul", difference, make("maximum", c, constant(2.0)))) == ["sub", "maximum", "mul", "reshape"]
    other = make("reshape", input_node("other", (6, 4)), attrs=ReshapeAttrs((1, 4, 6)))
    assert canonical(make("add", a, other)) == ["reshape", "reshape", "add"]


def test_the_one_slope_of_one_channel_is_that_of_many_before_a_reshape() -> None:
    one = make("reshape", input_node("x", (4, 6)), attrs=ReshapeAttrs((4, 6, 1)))
    (y,) = canonicalize(graph(make("prelu", one, constant([0.25])))).outputs
    assert [n.op for n in (y, y.inputs[0])] == ["reshape", "prelu"]
    assert y.inputs[0].inputs[1].value.tolist() == [0.25] * 6
