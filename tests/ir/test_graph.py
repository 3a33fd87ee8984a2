# SPDX-License-Identifier: Apache-2.0
"""The IR: typing, printing, identity, rewriting and the verifier's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from bnn import passes
from bnn.errors import BnnError, CompileError, InputError, UnsupportedOpError, VerifierError
from bnn.ir import interpret, spec
from bnn.ir.graph import DType, Graph, Halo, Node, Placement, Storage, TensorType, Value, topological
from bnn.ir.ops import (
    OPS,
    ClampAttrs,
    ConvAttrs,
    Level,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    constant,
    input_node,
    make,
)
from bnn.ir.rewrite import Rewrite, rebuild, rewrite

X = input_node("x", (4, 5, 3))
B = input_node("b", (4, 5, 3), DType.b1)
W = constant(np.ones((2, 3, 3, 3)))


def test_types_are_inferred() -> None:
    attrs = ConvAttrs(stride=(2, 1), dilation=(1, 2), pads=(1, 0, 0, 2))
    assert make("conv2d", X, W, attrs=attrs).type == TensorType((2, 3, 2), DType.f32)
    assert make("max_pool", B, attrs=PoolAttrs((2, 2), (1, 2))).type == TensorType((3, 2, 3), DType.b1)
    assert str(make("binarize", X).type) == "b1[4, 5, 3]"


def signs(*shape: int) -> Node:
    return constant(np.ones(shape), DType.b1)


BAD = {
    "data of another type": (lambda: make("bconv2d", X, W, name="c"), "expected b1 data and b1 filters, found f32"),
    "channels": (lambda: make("conv2d", X, constant(np.ones((2, 3, 3, 4))), name="c"), "has not the 4 x 1 channels"),
    "groups": (
        lambda: make("conv2d", X, constant(np.ones((2, 1, 1, 1))), attrs=ConvAttrs(groups=3), name="c"),
        "2 filters do not divide into 3 groups",
    ),
    "kernel": (lambda: make("conv2d", X, constant(np.ones((2, 5, 1, 3))), name="c"), "larger than the padded image"),
    "float padding": (lambda: make("conv2d", X, W, attrs=ConvAttrs(pad_value=1), name="c"), "cannot pad with 1"),
    "stride": (lambda: make("conv2d", X, W, attrs=ConvAttrs(stride=(0, 1)), name="c"), "bad stride"),
    "rank": (
        lambda: make("conv2d", make("reshape", X, attrs=ReshapeAttrs((4, 15))), W, name="c"),
        r"\(H, W, C\) or \(C\)",
    ),
    "inexact sums": (
        lambda: make("conv2d", input_node("x", (2**24,)), constant(np.ones((1, 1, 1, 2**24), np.int8)), name="c"),
        r"at most 2\*\*24 - 1 are exact",
    ),
    "slots' order": (
        lambda: make("conv2d", X, W, *[constant([1, 1])] * 2, attrs=ConvAttrs(slots=("add", "sub")), name="c"),
        "slots out of order",
    ),
    "slots' operands": (
        lambda: make("conv2d", X, W, attrs=ConvAttrs(slots=("add",)), name="c"),
        "take 1 operands, found 0",
    ),
    "slot's type": (
        lambda: make("conv2d", X, W, constant([1]), attrs=ConvAttrs(slots=("add",)), name="c"),
        r"slot add expects f32\[2\], found f32\[1\]",
    ),
    "threshold's company": (
        lambda: make(
            "bconv2d",
            B,
            signs(2, 3, 3, 3),
            constant([1, 1]),
            constant([1, 1], DType.i32),
            attrs=ConvAttrs(slots=("add", "threshold"), out=DType.b1),
            name="c",
        ),
        "threshold stands alone",
    ),
    "window": (
        lambda: make("max_pool", X, attrs=PoolAttrs((2, 2), pads=(2, 0, 0, 0)), name="c"),
        "covers a whole window",
    ),
    "mean of bits": (lambda: make("avg_pool", B, name="c"), "average pooling expects f32"),
    "padding of bits": (lambda: make("pad", B, attrs=PadAttrs(value=0.0), name="c"), "bits can be padded with"),
    "reshape": (lambda: make("reshape", X, attrs=ReshapeAttrs((7,)), name="c"), "cannot reshape"),
    "concat": (lambda: make("concat", X, B, name="c"), "cannot concatenate"),
    "broadcast": (lambda: make("add", X, constant([1, 2]), name="c"), "do not broadcast"),
    "bits in floats": (lambda: make("add", X, B, name="c"), "expected two f32 operands"),
    "attributes": (lambda: make("sign", X, attrs=ClampAttrs(), name="c"), "sign takes NoAttrs, found ClampAttrs"),
}


@pytest.mark.parametrize("name", BAD)
def test_ill_typed_nodes_cannot_be_made(name: str) -> None:
    build, message = BAD[name]
    with pytest.raises(CompileError, match=message) as error:
        build()
    assert name == "attributes" or str(error.value).startswith("layer 'c' (")


def test_constants_of_bits_hold_signs_only() -> None:
    with pytest.raises(CompileError, match=r"\+1 and -1 only"):
        constant([1, 0], DType.b1)


def test_values_compare_by_content() -> None:
    a, b = Value(np.float32([1, 2])), Value(np.float32([1, 2]))
    assert a == b and hash(a) == hash(b) and a != Value(np.float32([[1, 2]])) and a != Value(np.int32([1, 2]))
    assert Value(np.float32([0.0])) != Value(np.float32([-0.0])) and Value(np.float32([0])) != Value(np.int32([0]))
    source = np.float32([1, 2])
    kept = Value(source)
    source[0] = 7
    assert kept.array[0] == 1 and not kept.array.flags.writeable


def test_nodes_are_values() -> None:
    first, second = make("sign", X), make("sign", X)
    assert first != second and len({first, second}) == 2
    with pytest.raises(FrozenInstanceError):
        first.name = "other"  # type: ignore[misc]
    with pytest.raises(CompileError, match="'sign' of layer '' is not a constant"):
        _ = first.value


def test_print() -> None:
    y = make("conv2d", X, W, attrs=ConvAttrs(pads=(1, 1, 1, 1)), name="layer")
    y = make("add", y, constant([0.5, -1]), name="layer")
    graph = Graph((X,), (make("clamp", y), constant([1.0])), ("y", "c"))
    assert str(graph).splitlines() == [
        '%0 = input(label=x, shape=(4, 5, 3)) : f32[4, 5, 3]  "x"',
        '%1 = conv2d(%0, const <float32 [2, 3, 3, 3]>, pads=(1, 1, 1, 1)) : f32[4, 5, 2]  "layer"',
        '%2 = add(%1, const [0.5, -1]) : f32[4, 5, 2]  "layer"',
        "%3 = clamp(%2) : f32[4, 5, 2]",
        "return %3, const [1]",
    ]


def test_order_and_uses() -> None:
    a = make("sign", X)
    b = make("add", a, a)
    graph = Graph((X,), (b, a, a))
    assert topological([b]) == [X, a, b]
    assert graph.use_counts() == {X: 1, a: 4, b: 1}
    assert graph.users() == {X: [a], a: [b], b: []}


def test_rebuild_keeps_what_does_not_change() -> None:
    graph = Graph((X,), (make("sign", X),))
    assert rebuild(graph, lambda old, node: node) is graph


def test_rewriting() -> None:
    """x + 0 -> x; what stays is the same object."""

    def drop(node: Node, uses: object) -> Node | None:
        return node.inputs[0] if not node.inputs[1].value.any() else None

    rule = Rewrite(drop, ("add",))
    inner = make("sign", X)
    graph = Graph((X,), (make("add", make("add", inner, constant([0.0])), constant([0.0])),))
    assert rewrite(graph, [rule]).outputs == (inner,)
    kept = Graph((X,), (make("add", inner, constant([1.0])),))
    assert rewrite(kept, [rule]) is kept


def test_rewriting_guards() -> None:
    grow = Rewrite(lambda node, uses: make("sign", node), ("sign",))
    with pytest.raises(VerifierError, match="did not end within 5 sweeps"):
        rewrite(Graph((X,), (make("sign", X),)), [grow], limit=5)

    def longer(node: Node, uses: object) -> Node | None:
        return replace(node, name=node.name + "+") if len(node.name) < 4 else None

    source, four = Graph((X,), (make("sign", X),)), Rewrite(longer, ("sign",))
    assert rewrite(source, [four], limit=5).outputs[0].name == "++++"  # the last sweep sees that it is the end
    with pytest.raises(VerifierError, match="did not end within 4 sweeps"):
        rewrite(source, [four], limit=4)
    retype = Rewrite(lambda node, uses: make("binarize", node.inputs[0]), ("sign",))
    with pytest.raises(VerifierError, match=r"a rule changed sign of 'layer' from f32\[4, 5, 3\] to b1"):
        rewrite(Graph((X,), (make("sign", X, name="layer"),)), [retype])


def test_rules_are_for_some_nodes() -> None:
    a = make("sign", X)
    y = make("add", a, constant([1.0]))
    for ops, of, fits in (
        ((), (), True), (("add",), (), True), (("add", "sub"), ("sign",), True), ((), ("sign",), True),
        (("sub",), (), False), (("add",), ("constant", "input"), False),
    ):  # fmt: skip
        assert Rewrite(lambda node, uses: None, ops, of).fits(y) == fits


def test_users_of_what_became_one_are_counted_together() -> None:
    """In the sweep that makes it so."""
    drop = Rewrite(lambda node, uses: node.inputs[0], ("add",))

    def alone(node: Node, uses: Mapping[Node, int]) -> Node | None:
        return make("sqrt", node.inputs[0]) if uses[node.inputs[0]] == 1 else None

    seen = Rewrite(alone, ("tanh",), of=("sign",))
    s = make("sign", X)
    both = Graph((X,), (make("tanh", make("add", s, constant([0.0]))), make("exp", s)))
    assert [n.op for n in rewrite(both, [drop, seen]).outputs] == ["tanh", "exp"]
    one = Graph((X,), (make("tanh", make("add", s, constant([0.0]))),))
    assert [n.op for n in rewrite(one, [drop, seen]).outputs] == ["sqrt"]


# -- the verifier -------------------------------------------------------------------------------------------------


def refused(graph: Graph, level: Level, *words: str) -> None:
    with pytest.raises(VerifierError) as error:
        spec.verify(graph, level, "some_pass")
    for word in ("after some_pass", *words):
        assert word in str(error.value), str(error.value)


def graph_of(node: Node) -> Graph:
    inputs = [n for n in topological([node]) if n.op == "input"]
    return Graph(tuple(inputs), (node,), ("y",))


def test_verifier_names_pass_node_layer_and_rule() -> None:
    bits = make("binarize", X, name="layer")
    where = "binarize of layer 'layer' : b1[4, 5, 3]"
    refused(graph_of(bits), Level.SOURCE, where, "source graphs hold only float32")
    refused(graph_of(make("copy", X, name="layer")), Level.BINARY, "copy of layer 'layer'", "not legal at level BINARY")
    refused(graph_of(replace(bits, type=TensorType((1,), DType.b1))), Level.BINARY, "its type should be b1[4, 5, 3]")
    refused(graph_of(replace(bits, type=TensorType((4, 5, 3), DType.f32))), Level.BINARY, "should be b1[4, 5, 3]")
    refused(graph_of(replace(bits, op="nothing")), Level.BINARY, "nothing of layer 'layer'", "no such op")
    refused(graph_of(replace(bits, inputs=(bits,))), Level.BINARY, where, "expected f32, found b1")
    refused(Graph((), (bits,)), Level.BINARY, "input of layer 'x'", "not among the graph's inputs")


def test_verifier_checks_a_node_once() -> None:
    """At a level; whether an input is among the graph's, in every graph."""
    bits = make("binarize", X)
    wrong, checked = replace(bits, type=TensorType((1,), DType.b1)), set[Node]()
    spec.verify(graph_of(bits), Level.BINARY, "", checked)
    assert checked == {X, bits}
    with pytest.raises(VerifierError, match="its type should be"):
        spec.verify(graph_of(wrong), Level.BINARY, "", checked)
    spec.verify(graph_of(wrong), Level.BINARY, "", checked | {wrong})
    with pytest.raises(VerifierError, match="not among the graph's inputs"):
        spec.verify(Graph((), (bits,)), Level.BINARY, "", checked)


def test_verifier_rules() -> None:
    w = make("sign", W)
    refused(graph_of(make("conv2d", X, w, name="c")), Level.BINARY, "conv2d of layer 'c'", "are constants")
    four = make("reshape", X, attrs=ReshapeAttrs((2, 2, 5, 3)), name="r")
    refused(graph_of(four), Level.RUNTIME, "reshape of layer 'r'", "one to three dimensions")
    refused(graph_of(make("unpack", B, name="u")), Level.RUNTIME, "inputs are float32")
    alone = make("sign", constant([1.0]), name="s")
    refused(graph_of(alone), Level.RUNTIME, "at least one operand that is not constant")
    row = input_node("row", (3,))
    refused(graph_of(make("add", X, row, name="a")), Level.SOURCE, "add of layer 'a'", "as many dimensions")
    refused(graph_of(make("add", row, constant(np.ones((1, 1, 3))), name="a")), Level.SOURCE, "as many dimensions")
    integers = make("copy", constant([1], DType.i32), name="i")
    refused(graph_of(integers), Level.RUNTIME, "32-bit integers are constants only")
    number = make("reshape", input_node("x", (1,)), attrs=ReshapeAttrs(()), name="n")
    refused(graph_of(number), Level.RUNTIME, "reshape of layer 'n'", "one to three dimensions")


def test_operands_of_layers_are_constants_but_the_residual() -> None:
    other, shortcut = input_node("other", (2,)), input_node("shortcut", (2, 3, 2))
    added = make("conv2d", X, W, shortcut, attrs=ConvAttrs(slots=("residual",)))
    spec.verify(graph_of(added), Level.BINARY)
    shifted = make("conv2d", X, W, make("sign", other), attrs=ConvAttrs(slots=("add",)), name="c")
    refused(graph_of(shifted), Level.BINARY, "conv2d of layer 'c'", "are constants (except for the residual)")


def test_bytes_go_where_they_are_taken() -> None:
    x, signed = input_node("x", (4, 5, 3), DType.u8), input_node("x", (4, 5, 3), DType.i8)
    flat = make("reshape", make("copy", make("excess_128", signed)), attrs=ReshapeAttrs((60,)))
    for node in (make("cast", x), make("cast", flat), make("copy", x), make("reshape", x, attrs=ReshapeAttrs((60,)))):
        spec.verify(graph_of(node), Level.RUNTIME)
    refused(graph_of(make("gather", x, constant([0], DType.i32))), Level.RUNTIME, "bytes come from ops that give them")
    index = constant([0] * 256, DType.i32)
    for op, entry in (("qadd", 2**30), ("qmul", 2**15 + 1)):
        pair = make(op, x, x, index, constant([entry] * 256, DType.i32))
        refused(graph_of(pair), Level.SOURCE, "what is looked up is inside its bounds")
    for node in (make("copy", signed), make("concat", signed, signed)):
        refused(graph_of(node), Level.RUNTIME, "signed bytes are inputs, and only excess_128 reads them")


def test_indices_count_elements_of_the_data() -> None:
    for first, last in ((0, 59), (-1, 59), (0, 60)):
        graph = graph_of(make("gather", X, constant([first, last], DType.i32), name="g"))
        if (first, last) == (0, 59):
            spec.verify(graph, Level.SOURCE)
        else:
            refused(graph, Level.SOURCE, "gather of layer 'g'", "constants that count elements of the data")


def planned() -> Graph:
    y = make("conv2d", make("sigmoid", X, name="s"), W, attrs=ConvAttrs(pads=(1, 1, 1, 1)), name="c")
    return passes.lower(graph_of(make("softmax", make("sigmoid", y, name="g"), name="m")))


def test_verifier_of_plans() -> None:
    graph = planned()
    spec.verify(graph, Level.RUNTIME, "some_pass")
    first, conv, gate = graph.schedule[:3]

    def place(node: Node, **changes: object) -> Graph:
        return replace(graph, placements={**graph.placements, node: replace(graph.placements[node], **changes)})

    refused(place(first, halo=Halo(1, 1, 0, 1)), Level.RUNTIME, "layer 'c' pads more than its input's halo")
    refused(place(conv, offset=0), Level.RUNTIME, "'s' and 'c' overlap in the arena")
    place_s = graph.placements[first]
    end = place_s.offset + place_s.bytes
    spec.verify(replace(place(conv, offset=end), arena_bytes=2 * graph.arena_bytes), Level.RUNTIME)
    refused(place(conv, offset=end - 1), Level.RUNTIME, "'s' and 'c' overlap in the arena")
    above = graph.placements[conv].offset + graph.placements[conv].bytes  # the other way round
    spec.verify(replace(place(first, offset=above), arena_bytes=2 * above), Level.RUNTIME)
    refused(replace(place(first, offset=above - 1), arena_bytes=2 * above), Level.RUNTIME, "'s' and 'c' overlap")
    short = graph.arena_bytes - 1
    refused(replace(graph, arena_bytes=short), Level.RUNTIME, f"ends past the arena's {short} bytes")
    missing = {n: p for n, p in graph.placements.items() if n is not gate}
    refused(replace(graph, placements=missing), Level.RUNTIME, "sigmoid of layer 'g' has no place in memory")
    swapped = (conv, first, *graph.schedule[2:])
    refused(replace(graph, schedule=swapped), Level.RUNTIME, "conv2d of layer 'c' runs before its operand")


def test_a_pass_that_breaks_the_graph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Graph) -> Graph:
        return replace(graph, outputs=(make("binarize", graph.outputs[0], name="layer"),))

    monkeypatch.setattr(passes, "PIPELINE", ((broken, Level.SOURCE),))
    with pytest.raises(VerifierError, match=r"after broken: binarize of layer 'layer' : b1\[.*only float32"):
        passes.lower(graph_of(make("sign", X)))


# -- the interpreter and the errors -------------------------------------------------------------------------------


def test_interpreter_checks_inputs() -> None:
    graph = graph_of(make("sign", X))
    with pytest.raises(InputError, match="has 1 inputs, found 2 arrays"):
        interpret.outputs(graph, [np.zeros(1), np.zeros(1)])
    with pytest.raises(InputError, match=r"input 'x' expects \(N, \(4, 5, 3\)\), found \(2, 4, 5, 1\)"):
        interpret.outputs(graph, [np.zeros((2, 4, 5, 1))])
    for wrong in ((0, 4, 5, 1), (4, 5, 3), (1, 1, 4, 5, 3), ()):
        with pytest.raises(InputError, match="input 'x' expects"):
            interpret.outputs(graph, [np.zeros(wrong)])
    with pytest.raises(InputError, match="has 1 inputs, found 0 arrays"):
        interpret.outputs(graph, [])
    assert interpret.outputs(graph, [np.zeros((0, 4, 5, 3))])[0].shape == (0, 4, 5, 3)


def test_errors_have_builtin_bases() -> None:
    assert issubclass(CompileError, (BnnError, ValueError)) and issubclass(UnsupportedOpError, NotImplementedError)
    assert issubclass(VerifierError, AssertionError) and issubclass(InputError, ValueError)


def test_op_table_is_consistent() -> None:
    codes = [op.opcode for op in OPS.values() if op.opcode is not None]
    assert sorted(codes) == list(range(1, len(codes) + 1))
    assert all(name == op.name for name, op in OPS.items())
    assert Placement(Storage.ARENA).halo == Halo() and not Halo()
    assert Halo(1, 0, 2, 0) | Halo(0, 3, 1, 0) == Halo(1, 3, 2, 0)
