# SPDX-License-Identifier: Apache-2.0
"""Names as a stranger may choose them, networks that have them, and what a text may show of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.passes import lower
from conftest import Builder
from raw_model import F32, INPUT, OUTPUT, Net, Op, Tensor

#: What each does, and the characters.
PARTS = {
    "colour": "\x1b[31m", "title": "\x1b]0;x\x07", "link": "\x1b]8;;http://x\x1b\\", "C1": "\x9b31m\x85", "DEL": "\x7f",
    "back": "\x08\r", "override": "\u202e", "isolate": "\u2066", "mark": "\u200f", "zero width": "\u200b\ufeff\u00ad",
    "separators": "\u2028\u2029\xa0", "tag": "\U000e0041", "private": "\ue000",
    "line": "\nFORGED: ok", "tab": "\t", "null": "\0", "markup": "[red][link=x]", "page": "</script><!--<script>",
    "image": "<img src=x onerror=FORGED=1>&amp;", "comment": "*/ #error ??/\n#error \\\n#error /*",
    "formula": "$\\frac{1}{", "format": "%s%n{0}", "table": "|`'\"",
}  # fmt: skip
NAME = "".join(PARTS.values())
#: The same without what ends a line.
ONE_LINE = "".join(c for c in NAME if c.isprintable() or c in "\x1b\u202e\u200b\x7f")
#: The same without what no file's name has, and not Unicode.
FILE_NAME = re.sub(r"[/\0]", "", NAME)[:90] + "\udcff"


def name(number: int) -> str:
    """Each layer's own; the number comes first, where emitters still see it."""
    return f"n{number}{NAME}"


def wrong(text: str) -> str:
    """What a terminal would not show as it is, or what begins a line of its own; "" if the text is right."""
    bad = sorted({c for c in text if not c.isprintable() and c not in "\n\t"})
    forged = [line for line in text.splitlines() if line.strip().startswith("FORGED")]
    return f"{bad} {forged} in {text!r}" if bad or forged else ""


def graph() -> Graph:
    """(12, 12, 1) -> (10), as of :mod:`conftest`, with a float layer and two binary ones."""
    build = Builder()
    x = ops.input_node(name(0), (12, 12, 1))
    h = build.norm(build.conv(x, 8, name(1)), name(2))
    h = build.norm(build.conv(build.sign(h, name(3)), 9, name(4), stride=2), name(5))
    h = build.norm(build.dense(build.sign(h, name(6)), 10, name(7)), name(8))
    made = lower(Graph((x,), (ops.make("softmax", h, name=name(9)),), (name(10),)))
    first = next(node for node in made.schedule if node.op == "conv2d")
    object.__setattr__(first, "note", NAME)
    return made


def raw() -> bytes:
    """A .bnn file in which every text is hostile."""
    source = Tensor(F32, (1,), INPUT, name=name(0), origin=NAME)
    op = Op("copy", [source], Tensor(F32, (1,), OUTPUT, name=name(1), origin=NAME), layer=name(2), note=NAME)
    return Net([op]).bytes()


def spiking() -> Any:
    """A network over time."""
    from snn.small import small_network

    made = small_network()
    for i, p in enumerate([*made.populations, *made.projections]):
        p.name = name(i)
    return replace(made, simulator=NAME)


def onnx_file(path: Path) -> Path:
    """A convolution, a sign, a dense layer; every text that ONNX has is hostile."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = rng.choice([-1.0, 1.0], (4, 1, 3, 3)).astype(np.float32)
    dense = rng.choice([-1.0, 1.0], (36, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [name(0), name(1)], [name(2)], name=name(20)),
        helper.make_node("Relu", [name(2)], [name(3)], name=name(21)),
        helper.make_node("Flatten", [name(3)], [name(4)], name=name(22)),
        helper.make_node("MatMul", [name(4), name(5)], [name(6)], name=name(23)),
    ]
    made = helper.make_graph(
        nodes, NAME, [helper.make_tensor_value_info(name(0), TensorProto.FLOAT, ["N", 1, 5, 5])],
        [helper.make_tensor_value_info(name(6), TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(weights, name(1)), numpy_helper.from_array(dense, name(5))],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name=NAME)
    onnx.save(model, str(path))
    return path
