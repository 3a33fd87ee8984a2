# SPDX-License-Identifier: Apache-2.0
"""The emitted layers in NumPy: their expected results (from the oracle) and their actual results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..._types import Array
from ...errors import VerifierError
from ...ir import interpret
from ...ir.graph import DType, Graph, Node
from ...ir.ops import conv_attrs
from ...ir.ops.conv import conv_accumulate
from .layered import Field, LayeredNetwork, NirLayer

PROOF_IMAGES = 4


def pack_spikes(fields: Sequence[Field], bits: Mapping[Node, Array], count: int, flat: bool) -> Array:
    """A layer's output (or the input) as the file has it, from its nodes' bits (+1 and -1): float32 (N, C, H, W) or
    (N, n) of 0 and 1, the clock included."""
    return _beside([np.ones((count, *f.shape)) if f.node is None else bits[f.node] > 0 for f in fields], fields, flat)


def _beside(values: Sequence[Array], fields: Sequence[Field], flat: bool) -> Array:
    """One array per field, (N, h, w, c) in any shape, as a layer's output."""
    parts = [v.reshape(-1, *f.shape).transpose(0, 3, 1, 2) for v, f in zip(values, fields, strict=True)]
    return np.concatenate([p.reshape(len(p), -1) if flat else p for p in parts], axis=1, dtype=np.float32)


def unpack_field(f: Field, values: Array, flat: bool) -> Array:
    """A field's part of a layer's output, (N, h, w, c)."""
    h, w, c = f.shape
    part = values[:, f.start : f.start + (h * w * c if flat else c)].reshape(-1, c, h, w)
    return np.ascontiguousarray(part.transpose(0, 2, 3, 1))


def simulate(layer: NirLayer, x: Array) -> Array:
    """A layer's output for spikes (N, ...): spikes, or a readout's sums.  In float64, which is exact here."""
    v = x.astype(np.float64) @ layer.weight.T.astype(np.float64) if layer.flat else _convolve(layer, x)
    return (v > 1).astype(np.float32) if layer.neurons else v


def _convolve(layer: NirLayer, x: Array) -> Array:
    (ph, pw), (sh, sw) = layer.padding, layer.stride
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    _, oh, ow = layer.shape
    v = np.zeros((len(x), *layer.shape))
    for ky, kx in np.argwhere(layer.weight.any(axis=(0, 1))):
        tap = x[:, :, ky : ky + (oh - 1) * sh + 1 : sh, kx : kx + (ow - 1) * sw + 1 : sw]
        v += np.einsum("oi,nihw->nohw", layer.weight[:, :, ky, kx].astype(np.float64), tap, optimize=True)
    return v


def readout_sums(chain: LayeredNetwork, output: Array) -> tuple[dict[Node, Array], dict[Node, Array]]:
    """(sums of the readouts, bits of the spikes out) from the last layer's output."""
    sums, bits = {}, {}
    last = chain.layers[-1]
    accumulators = {op.node for op in chain.network.readouts}
    for f in last.fields:
        if f.node is None:
            continue
        value = unpack_field(f, output, chain.flat).astype(np.float32)
        if f.node in accumulators:
            sums[f.node] = value
        else:
            ones = value > (0.5 if last.neurons else 0)  # a spike is 1, a spike read out is +1 or -1
            bits[f.node] = np.where(ones, np.int8(1), np.int8(-1)).reshape(-1, *f.node.type.shape)
    return sums, bits


def random_inputs(graph: Graph) -> list[Array]:
    """Images for a proof: multiples of 1/256 from 0 to 255/256, or bytes."""
    rng = np.random.default_rng(0)
    numbers = [rng.integers(0, 256, (PROOF_IMAGES, *n.type.shape)) for n in graph.inputs]
    return [
        (x / 256).astype(np.float32) if n.type.dtype is DType.f32 else x.astype(n.type.dtype.numpy)
        for n, x in zip(graph.inputs, numbers, strict=True)
    ]


def prove(chain: LayeredNetwork, inputs: list[Array]) -> dict[str, Array]:
    """The oracle's spikes of every layer for the inputs, after a check that the layers themselves give the same spikes,
    and the outputs of the compiled network.

    Raises :class:`VerifierError` if they do not: a bug, found before anything is written.
    """
    form = chain.network.form
    values = interpret.run(form.graph, inputs)
    compiled = interpret.run(form.original, inputs) if form.changed else values
    for made, old in form.same.items():
        if not np.array_equal(values[made], compiled[old], equal_nan=True):
            raise VerifierError(f"layer '{made.name}': its neurons' bits differ from the compiled network's")
    count = len(inputs[0])
    x = pack_spikes(chain.inputs, values, count, chain.flat)
    proof = {f"input/{n.name}": a for n, a in zip(chain.network.graph.inputs, inputs, strict=True)}
    proof["spikes/input"] = x.astype(np.uint8)
    for layer in chain.layers:
        x = simulate(layer, x)
        if layer.neurons:
            expected = pack_spikes(layer.fields, values, count, chain.flat)
            proof[f"spikes/{layer.neuron_name}"] = expected.astype(np.uint8)
        else:
            expected = expected_sums(chain, layer, values)
            proof["sums"] = expected.astype(np.float32)
        if not np.array_equal(x, expected):
            wrong = np.count_nonzero(x != expected)
            raise VerifierError(f"layer '{layer.name}': {wrong} emitted values differ from the oracle's")
    for op in chain.network.readouts:
        for slot, operand in zip(conv_attrs(op.node).operands, op.node.inputs[2:], strict=True):
            if operand.is_constant:
                proof[f"decoder/{op.name}/{slot}"] = operand.value
    outputs = chain.network.decode(*readout_sums(chain, x))
    for name, ours, node in zip(_output_names(chain), outputs, form.original.outputs, strict=True):
        if not np.array_equal(ours, compiled[node], equal_nan=True):
            raise VerifierError(f"output '{name}': decoded from sums it differs from the oracle's")
        proof[f"output/{name}"] = ours
    return proof


def _output_names(chain: LayeredNetwork) -> list[str]:
    graph = chain.network.graph
    return [name or f"output_{i}" for i, name in enumerate(graph.output_names or ("",) * len(graph.outputs))]


def bits_of(x: Node, values: Mapping[Node, Array]) -> Array:
    """A node's bits, even if it only views the bits of other nodes."""
    if x in values:
        return values[x]
    return interpret.evaluate(x, [bits_of(i, values) for i in x.inputs])


def expected_sums(chain: LayeredNetwork, layer: NirLayer, values: Mapping[Node, Array]) -> Array:
    """The expected output of a readout layer, from the bits of its sources (+1 and -1)."""
    ops = {op.node: op for op in chain.network.readouts}
    sums = []
    for f in layer.fields:
        assert f.node is not None
        if f.node in ops:
            x = bits_of(f.node.inputs[0], values)
            sums.append(conv_accumulate(x, f.node.inputs[1].value, conv_attrs(f.node)))
        else:
            sums.append(values[f.node])
    return _beside(sums, layer.fields, chain.flat)
