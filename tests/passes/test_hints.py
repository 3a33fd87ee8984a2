"""What the compiler says where an author surely meant a layer to be binary, or a bit to change."""

from __future__ import annotations

import numpy as np

from bnn.ir import Graph, Node
from bnn.ops import INF, ClampAttrs, constant, input_node, make
from bnn.passes import lower

X = input_node("x", (40,))


def sign(x: Node) -> Node:
    return make("sign", make("add", make("sign", x), constant([0.1])))


def dense(x: Node, w: np.ndarray, name: str) -> Node:  # type: ignore[type-arg]
    return make("conv2d", x, constant(w.astype(np.float32)), name=name)


def notes(*outputs: Node) -> dict[str, str]:
    return {n.name: n.note for n in lower(Graph((X,), outputs, ("y",) * len(outputs))).schedule if n.note}


def test_float_weights_behind_a_quantizer(rng: np.random.Generator) -> None:
    found = notes(dense(sign(X), rng.normal(size=(8, 1, 1, 40)), "dense"))
    assert found["dense"] == "its weights take 320 values, not two or three; a kernel quantizer would make it binary"


def test_a_relu_makes_every_bit_the_same(rng: np.random.Generator) -> None:
    signs = rng.choice([-1, 1], (8, 1, 1, 40))
    relu = make("clamp", dense(sign(X), signs, "first"), attrs=ClampAttrs(0.0, INF))
    found = notes(dense(sign(relu), rng.choice([-1, 1], (3, 1, 1, 8)), "second"))
    assert found == {"first": "all its bits are +1, whatever the image; is there a ReLU before the quantizer?"}
    biased = make("add", dense(sign(X), signs, "first"), constant(np.full(8, 1.0)))
    assert not notes(dense(sign(biased), rng.choice([-1, 1], (3, 1, 1, 8)), "second"))


def test_many_levels(rng: np.random.Generator) -> None:
    def quantized(largest: float) -> Node:
        scaled = make("mul", make("clamp", X, attrs=ClampAttrs(0.0, 1.0)), constant([largest]))
        return make("div", make("round", scaled), constant([largest]))

    signs = rng.choice([-1, 1], (3, 1, 1, 40))
    found = notes(dense(quantized(256.0), signs, "dense"))
    assert found["dense"] == "its input takes more than 256 values"
    assert not notes(dense(quantized(255.0), signs, "dense"))
