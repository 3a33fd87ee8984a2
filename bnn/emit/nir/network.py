# SPDX-License-Identifier: Apache-2.0
"""The spiking network inside a binary graph: which values are spikes, and the integer sum that decides each.

A bit x = +1 or -1 is a spike s = 1 or 0: x = 2s - 1.  Every op from bits to bits is one comparison,

    spike[o]  <=>  sum over its terms of (x conv w)[o]  >=  threshold[o],

with integer weights.  A binary convolution is one term.  So is max-pooling: OR means that at least one of k taps is +1,
so the sum is at least 2 - k; AND means that all are, so it is k.  Padding compares the value itself with 0.  Ops that
only move bits (concatenation, flattening, slices, gathers) say where a term finds its channels; if they move bits from
pixel to pixel, they are a layer with a neuron per bit.  Everything before the first bits is the encoder, everything
after the last bits the decoder.  A real number between two bits cannot be a spike, unless it is a sum of integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.graph import Graph, Node, topological
from ...ir.interpret import evaluate
from ...ir.monotone import function, integer_thresholds
from ...ir.neurons import NeuronForm, neuron_form
from ...ir.no_spike import fits_channels, of_the_batch, refusal
from ...ir.ops import OPS, ConvAttrs, PadAttrs, PoolAttrs, conv_attrs
from ...ir.ops.bits import binarize
from ...ir.ops.conv import of_sums
from .views import Views, is_bits, spatial

Pads = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Term:
    """A convolution of a source's bits, part of an op's integer sum.

    ``weight``: integers (O, kh, kw, I), dilation 1.  ``pads``: top, left, bottom, right; below 0 where the image is
    cropped.  ``outside``: the value of a tap outside the image, -1, 0 or +1 per filter.

    If the layer moves bits, ``index`` (h, w, O) gives the source element for each of its elements, and -1 where that is
    another source's.  It then describes no convolution: ``weight`` is 1 and ``outside`` 0.
    """

    source: Node
    weight: Array
    stride: tuple[int, int]
    pads: Pads
    outside: Array
    index: Array | None = None


@dataclass(frozen=True, eq=False)
class SpikeOp:
    """A layer: one neuron per element of ``shape`` (h, w, c); ``threshold`` int64 (c), or None: a readout, which
    gives the sums themselves."""

    node: Node
    terms: tuple[Term, ...]
    threshold: Array | None
    shape: tuple[int, int, int]

    @property
    def name(self) -> str:
        return self.node.name or self.node.op

    @property
    def reach(self) -> Array:
        """The largest magnitude of the sum, per filter."""
        return np.asarray(sum(np.abs(t.weight).reshape(len(t.weight), -1).sum(axis=1) for t in self.terms))


@dataclass(frozen=True, eq=False)
class SpikeNetwork:
    """``form``: the graph with a neuron for every bit.  ``sources``: the encoder's bits.  ``ops``: operands first.
    ``readouts``: sums that the decoder reads.  ``spikes_out``: spikes that the decoder reads."""

    form: NeuronForm
    sources: tuple[Node, ...]
    ops: tuple[SpikeOp, ...]
    readouts: tuple[SpikeOp, ...]
    spikes_out: tuple[Node, ...]

    @property
    def graph(self) -> Graph:
        return self.form.graph

    def encoder(self) -> list[str]:
        """Names of the layers that stay outside, before the spikes."""
        found = {n.name: None for n in topological(self.sources) if n.op not in ("constant", "copy", "input")}
        return [name for name in found if name]

    def decode(self, sums: Mapping[Node, Array], bits: Mapping[Node, Array]) -> list[Array]:
        """The graph's outputs, float32 (N, ...), from the readouts' sums (N, *shape) and the output spikes as +1 and
        -1, in the shapes of their nodes."""
        values: dict[Node, Array] = dict(bits)
        for node in self.graph.nodes():
            if node.is_constant:
                values[node] = node.value
            elif node in sums:
                acc = sums[node].reshape(-1, *node.type.shape)
                values[node] = of_sums(acc, conv_attrs(node), tuple(values[i] for i in node.inputs[2:]))
            elif node in values or not node.inputs or _computes_bits(node):
                continue
            elif all(i in values for i in node.inputs):
                values[node] = evaluate(node, [values[i] for i in node.inputs])
        return [values[n] for n in self.graph.outputs]


def spike_network(graph: Graph) -> SpikeNetwork:
    """Find the spikes of a BINARY or RUNTIME graph.

    Raises :class:`UnsupportedOpError` where a value between two binary layers is a real number, or where images depend
    on each other; names the layer, the reason and what to do.  Raises :class:`CompileError` where nothing would spike.
    """
    shared = of_the_batch(graph)
    if shared is not None:
        raise UnsupportedOpError(shared)
    return _Finder(neuron_form(graph)).network()


class _Finder:
    def __init__(self, form: NeuronForm) -> None:
        self.form = form
        self.graph = form.graph
        self.order = form.graph.nodes()
        self.views = Views(self.order)
        self.after_bits = self.views.after_bits

    def network(self) -> SpikeNetwork:
        sources, ops = [], []
        for node in self.order:
            if not is_bits(node):
                continue
            if not any(i in self.after_bits for i in node.inputs):
                sources.append(node)
            elif not OPS[node.op].rearranges:
                ops.append(self._spike_op(node))
            elif self.views.pieces(node)[0].source is node:
                ops.append(self._wires(node))
        readouts, spikes_out = self._sinks()
        read = {t.source for op in (*ops, *readouts) for t in op.terms} | set(spikes_out)
        ops = [op for op in ops if op.node in read]
        if not ops and not readouts:
            raise CompileError(
                "no layer computes bits from bits, so there is nothing to emit as spikes; train the network with an "
                "input quantizer in at least one layer"
            )
        return SpikeNetwork(
            self.form, tuple(s for s in sources if s in read), tuple(ops), tuple(readouts), tuple(spikes_out)
        )

    # -- bits from bits -------------------------------------------------------------------------------------------

    def _spike_op(self, node: Node) -> SpikeOp:
        shape = spatial(node.type.shape)
        a = node.attrs
        if isinstance(a, ConvAttrs) and node.op == "bconv2d" and "threshold" in a.slots:
            return SpikeOp(node, self._conv_terms(node), node.inputs[2].value.astype(np.int64), shape)
        if isinstance(a, PoolAttrs) and node.op == "max_pool":
            lowest = np.full(shape[2], -1) if len(node.inputs) == 1 else node.inputs[1].value.astype(int)
            taps = a.kernel[0] * a.kernel[1]
            kernel = np.ones((*a.kernel,), np.int64)
            terms = self._channelwise(node.inputs[0], kernel, a.stride, a.pads, lowest)
            return SpikeOp(node, terms, np.where(lowest > 0, taps, 2 - taps), shape)
        if isinstance(a, PadAttrs) and node.op == "pad":
            outside = np.full(shape[2], int(a.value))
            terms = self._channelwise(node.inputs[0], np.ones((1, 1), np.int64), (1, 1), a.pads, outside)
            return SpikeOp(node, terms, np.zeros(shape[2], np.int64), shape)
        return self._joined(node)

    def _conv_terms(self, node: Node) -> tuple[Term, ...]:
        a = conv_attrs(node)
        weight = dilate(ungroup(node.inputs[1].value, a.groups), a.dilation)
        outside = np.full(len(weight), a.pad_value)
        terms = []
        one_pixel = weight.shape[1:3] == (1, 1) and not any(a.pads)
        for p in self.views.pieces(node.inputs[0], one_pixel):
            part = p.of_source(weight)
            if p.flat:
                part = part.reshape(len(part), *spatial(p.source.type.shape))
            terms.append(Term(p.source, part, (1, 1) if p.flat else a.stride, a.pads, outside))
        return tuple(terms)

    def _channelwise(
        self, x: Node, kernel: Array, stride: tuple[int, int], pads: Pads, outside: Array
    ) -> tuple[Term, ...]:
        """Each channel separately, through the same (kh, kw) kernel."""
        terms = []
        for p in self.views.pieces(x):
            weight = np.zeros((len(outside), *kernel.shape, p.width), np.int64)
            weight[p.at, :, :, p.take] = kernel
            terms.append(Term(p.source, weight, stride, pads, outside))
        return tuple(terms)

    # -- bits that are moved --------------------------------------------------------------------------------------

    def _wires(self, node: Node) -> SpikeOp:
        """The layer of a view that moves bits from pixel to pixel."""
        places, shape = self.views.places(node), spatial(node.type.shape)
        one, none = np.ones((shape[2], 1, 1, 1), np.int64), np.zeros(shape[2], np.int64)
        terms = [
            Term(source, one, (1, 1), (0, 0, 0, 0), none, np.where(places.which == k, places.element, -1))
            for k, source in enumerate(places.sources)
        ]
        return SpikeOp(node, tuple(terms), none, shape)

    # -- bits from sums of integers -------------------------------------------------------------------------------

    def _joined(self, node: Node) -> SpikeOp:
        """Bits of a sum that passes through arithmetic on floats: exact where the sum adds whole numbers (raw
        accumulators and bits), or is one layer's own, and where the result changes sign once."""
        x = node
        while (terms := self._whole_numbers(x)) is None:
            quantizer = x is node and x.op == "binarize"
            per_channel = OPS[x.op].elementwise and OPS[x.op].scales
            if not quantizer and not (per_channel and len(x.data) == 1 and fits_channels(x)):
                raise UnsupportedOpError(refusal(node, x))
            x = x.data[0]
        shape = spatial(node.type.shape)
        reach = SpikeOp(node, tuple(terms), None, shape).reach
        found = steps(x, node, reach)
        if found is None:
            raise UnsupportedOpError(
                f"layer '{node.tap or node.name}': its bits change more than once as its sums grow, so no threshold "
                "gives them; use a monotone activation before the quantizer"
            )
        threshold, falling = found
        signs = np.where(falling, -1, 1)[:, None, None, None]
        turned = tuple(Term(t.source, t.weight * signs, t.stride, t.pads, t.outside) for t in terms)
        return SpikeOp(node, turned, threshold, shape)

    def _whole_numbers(self, x: Node) -> list[Term] | None:
        if x.op == "bconv2d" and "residual" not in conv_attrs(x).slots:
            return list(self._conv_terms(x))
        return self._integer_sum(x)

    def _integer_sum(self, x: Node) -> list[Term] | None:
        """The terms of a float value that is a sum of accumulators and bits without any scale, or None."""
        if x.op == "unpack":
            c = spatial(x.type.shape)[2]
            return list(self._channelwise(x.inputs[0], np.ones((1, 1), np.int64), (1, 1), (0,) * 4, np.full(c, -1)))
        if x.op == "bconv2d" and set(conv_attrs(x).slots) <= {"residual"}:
            terms: list[Term] | None = list(self._conv_terms(x))
            rest = [self._integer_sum(i) for i in x.inputs[2:]]
        elif x.op in ("add", "sub") and not any(i.is_constant or i.type != x.type for i in x.inputs):
            terms, rest = [], [self._integer_sum(i) for i in x.inputs]
            if x.op == "sub" and rest[1] is not None:
                rest[1] = [Term(t.source, -t.weight, t.stride, t.pads, t.outside) for t in rest[1]]
        elif x.op == "concat":
            parts = [self._integer_sum(i) for i in x.inputs]
            at = np.cumsum([0] + [i.type.shape[-1] for i in x.inputs])
            terms, rest = [], [p and [_placed(t, b, at[-1]) for t in p] for p, b in zip(parts, at, strict=False)]
        else:
            return None
        for other in rest:
            terms = None if terms is None or other is None else terms + other
        return terms

    # -- the end --------------------------------------------------------------------------------------------------

    def _sinks(self) -> tuple[list[SpikeOp], list[Node]]:
        readouts: dict[Node, None] = {}
        spikes: dict[Node, None] = {}
        seen: set[Node] = set()
        stack = list(reversed(self.graph.outputs))
        while stack:
            x = stack.pop()
            if x in seen or x.is_constant:
                continue
            seen.add(x)
            if x not in self.after_bits:
                raise UnsupportedOpError(
                    f"layer '{x.name}': the output also depends on real numbers that pass by all spikes; such a "
                    "network cannot be emitted"
                )
            if is_bits(x):
                spikes[x] = None
            elif x.op == "bconv2d":
                readouts[x] = None
                stack += [i for i in x.inputs[2:] if not i.is_constant]
            else:
                stack += list(reversed(x.inputs))
        sums = [SpikeOp(n, self._conv_terms(n), None, spatial(n.type.shape)) for n in self.order if n in readouts]
        out: dict[Node, None] = {}
        for x in spikes:
            out.update(dict.fromkeys(self.views.places(x).sources))
        return sums, [n for n in self.order if n in out]


def _placed(t: Term, begin: int, channels: int) -> Term:
    """The same sums, starting at a channel of a concatenation."""
    weight = np.zeros((channels, *t.weight.shape[1:]), np.int64)
    outside = np.full(channels, -1)
    part = slice(begin, begin + len(t.weight))
    weight[part], outside[part] = t.weight, t.outside
    return Term(t.source, weight, t.stride, t.pads, outside)


def _computes_bits(node: Node) -> bool:
    return is_bits(node) and not OPS[node.op].rearranges


def ungroup(weight: Array, groups: int) -> Array:
    """(O, kh, kw, I / groups) -> (O, kh, kw, I), zero between groups."""
    out, kh, kw, inner = weight.shape
    dense = np.zeros((out, kh, kw, inner * groups), np.int64)
    per_group = out // groups
    for g in range(groups):
        rows = slice(g * per_group, (g + 1) * per_group)
        dense[rows, :, :, g * inner : (g + 1) * inner] = weight[rows]
    return dense


def dilate(weight: Array, dilation: tuple[int, int]) -> Array:
    """The same taps as a kernel of dilation 1."""
    out, kh, kw, inner = weight.shape
    dh, dw = dilation
    dense = np.zeros((out, (kh - 1) * dh + 1, (kw - 1) * dw + 1, inner), np.int64)
    dense[:, ::dh, ::dw] = weight
    return dense


def steps(start: Node, end: Node, reach: Array) -> tuple[Array, Array] | None:
    """(The threshold, whether the bit falls as the sum grows; the threshold is then that of the negated sum), per
    channel, of the bits that ``start``'s own epilogue and the ops from there to ``end`` make of an integer sum; None if
    a bit changes twice."""
    follow = function(end, start)
    own = start.op == "bconv2d" and "residual" not in conv_attrs(start).slots

    def bits(sums: Array, part: slice) -> Array:
        if own:
            sums = of_sums(sums, conv_attrs(start), tuple(i.value[part] for i in start.inputs[2:]))
        value = follow(sums, part)
        return (binarize(value) if value.dtype == np.float32 else value) > 0

    return integer_thresholds(bits, len(reach), int(reach.max()), monotone=False)
