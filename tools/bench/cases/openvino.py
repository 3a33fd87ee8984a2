# SPDX-License-Identifier: Apache-2.0
"""Time binary 3x3 layers against OpenVINO's BinaryConvolution, the closest peer on x86.

    pip install openvino
    python tools/benchmark.py openvino

A layer takes floats, makes bits of them and gives its sums, padded with -1.  Both have one thread and take turns; their
sums are compared before they are timed, and a difference is an error.  OpenVINO gets its own form: activations as
FakeQuantize to {0, 1}, weights as bits, the first in the lowest bit of a byte.  It is one layer and no chain: of two in
a row, OpenVINO 2026.4 computes the second's bits in the first, and gives other sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np

from bench import document
from bench.document import multiple, number
from bench.layers import sign
from bench.peers import Floats, compiled
from bench.runner import Bench, Found, case
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.ir.ops import ConvAttrs, PadAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model

SHAPES = ((56, 64), (28, 128), (14, 256), (7, 512))  # pixels of a side, channels


def layer(side: int, signs: Floats) -> Model:
    """The layer of OHWI weights, compiled."""
    x = input_node("x", (side, side, signs.shape[3]))
    padded = make("pad", sign(x), attrs=PadAttrs((1, 1, 1, 1), -1.0))
    y = make("conv2d", padded, constant(signs), attrs=ConvAttrs())
    return Model.from_bytes(encode(lower(Graph((x,), (y,), ("sums",)))))


def theirs(side: int, signs: Floats) -> Callable[[Floats], Floats]:
    """The same in OpenVINO, channels first."""
    import openvino as ov
    from openvino import opset1

    x = opset1.parameter([1, signs.shape[3], side, side], np.float32)
    middle, low, high = (opset1.constant(np.full((1, 1, 1, 1), v, np.float32)) for v in (0.0, 0.0, 1.0))
    bits = opset1.fake_quantize(x, middle, middle, low, high, 2)
    ones = np.moveaxis(signs, 3, 1) > 0
    packed = ov.Tensor(np.packbits(ones.reshape(-1), bitorder="little"), ov.Shape(ones.shape), ov.Type.u1)
    one = [1, 1]
    y = opset1.binary_convolution(bits, ov.op.Constant(packed), one, one, one, one, "xnor-popcount", -1.0)
    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(ov.Model([y], [x]), "CPU", hints).create_infer_request()
    return lambda image: next(iter(request.infer({0: image}, share_inputs=True).values()))


def measured(bench: Bench, side: int, channels: int) -> dict[str, Any]:
    """A layer: bnn's time, OpenVINO's time, and the second as a multiple of the first."""
    rng = np.random.default_rng(side)
    signs = rng.choice(np.array([-1, 1], np.float32), (channels, 3, 3, channels))
    image = rng.normal(size=(1, side, side, channels)).astype(np.float32)
    model, other = layer(side, signs), theirs(side, signs)
    first = np.ascontiguousarray(np.moveaxis(image, 3, 1))
    sums, expected = model(image), np.moveaxis(other(first), 1, 3)
    wrong = int(np.count_nonzero(sums != expected))
    if wrong:
        raise click.ClickException(f"{side}x{side}x{channels}: {wrong} of {sums.size} sums differ")
    ours, time = bench.measure([compiled(model, image, 1).run, lambda: other(first)])
    shape = f"{side}x{side}x{channels}"
    return {"shape": shape, "us": ours, "openvino_us": time, "times_bnn": time.median / ours.median}


@case(rounds=15, slice_ms=30.0, clock="wall", docs=None)
def openvino(bench: Bench) -> Found:
    try:
        rows = [measured(bench, side, channels) for side, channels in SHAPES]
    except ImportError as error:
        raise click.ClickException(f"{error}; run: pip install openvino") from None
    text = document.table(
        ["3x3 layer", "bnn, us", "OpenVINO, us", "times bnn's"],
        [[r["shape"], *(number(r[us].median) for us in ("us", "openvino_us")), multiple(r["times_bnn"])] for r in rows],
    )
    bench.say(text)
    return Found({"rows": rows}, {"openvino": text})
