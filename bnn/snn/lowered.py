# SPDX-License-Identifier: Apache-2.0
"""A compiled network as event populations: a neuron for each bit or number of several bits.

Sums of bits become counters with a threshold each, or sums that counters look at; max-pools become windows, moves
become wires, and the results of the last layers sums.  What is computed from real inputs, the encoder, is one input for
each of its results; where it is one convolution or quantizer on real inputs, it is a counter on their changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from .._types import Array, Floats
from ..errors import UnsupportedOpError
from ..ir.graph import DType, Graph, Node
from ..ir.interpret import evaluate
from ..ir.monotone import floats, order
from ..ir.ops import OPS, PoolAttrs, conv_attrs
from ..ir.ops.bits import binarize
from ..ir.ops.conv import epilogue
from .network import MOST_KERNEL, MOST_NEURONS, Network, Population, Projection, Shape
from .rules import EVENT_RULES, Dynamics, Emits

#: Sums that are one; the compiler makes a few of weights of several values.
_MOST_ADDED = 16
_MOST_FUNCTIONS = 64
NOTHING = "nothing"  # the population of a network in which nothing spikes
_LANES = 2**15 - 1  # the largest sum of an int16 membrane
_EXACT = 2**24
_MOVES = ("concat", "copy", "gather", "pad", "reshape", "slice")
_LAYERS = ("conv2d", "iconv2d", "qconv2d")  # before the first bits
_ZERO, _ONE = np.zeros(1, np.float32), np.ones(1, np.float32)
_BY_CHANNEL = ("affine", "add", "sub", "mul", "clamp")
Function = Callable[[Floats], Floats]  # of sums (n, channels)


def lowered(graph: Graph) -> Network:
    """The event populations of a RUNTIME graph.

    Raises :class:`UnsupportedOpError` that names the op that cannot be one, and why.
    """
    return _Lowering(graph).network()


def _f32(*values: Any) -> Floats:
    return np.array(values, np.float32)


def grid(shape: Shape) -> tuple[int, int, int]:
    """(h, w, c); vectors are one pixel."""
    h, w, c = (1, 1, *shape)[-3:]
    return int(h), int(w), int(c)


@dataclass(eq=False)
class _Sums:
    """What a counter looks at: the layers whose sums are one, what is added to them, and the functions between."""

    ops: list[Node]
    added: Floats | None
    functions: list[Node]
    pool: Node | None


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._numbers = {node: k for k, node in enumerate(graph.schedule)}
        self._populations: list[Population] = []
        self._projections: list[Projection] = []
        self._bits: dict[Node, int] = {}  # the population that sends a value's bits or levels
        self._sums: dict[Node, int] = {}  # the one that sums what a convolution does
        self._pixels: dict[tuple[Node, Shape], int] = {}
        self._rows: dict[tuple[Node, int, float], Array] = {}  # layers may share a constant
        self._looks = {n: s for n in graph.schedule if n.op in ("binarize", "binarize_levels") and (s := self._seen(n))}
        self._spikes: set[Node] = set()  # what depends on bits
        self._check()
        self._simple = all(self._input_of(n) is not None for n in graph.schedule if self._encodes(n))

    def network(self) -> Network:
        """All populations, in the order of their ops."""
        counted = {node for seen in self._looks.values() for node in seen.ops[:1]}
        added = {node for seen in self._looks.values() for node in seen.ops[1:]} - counted
        for node in self._graph.schedule:
            if self._encodes(node):
                self._encoder(node)
            elif node in self._looks:
                self._counter(node)
            elif node.op == "bconv2d" and node.type.dtype is DType.b1:
                self._synapses(node)
            elif node.op == "bconv2d" and not (node in added and self._only_added(node)):
                self._sum(node, next((s for s in self._looks.values() if s.ops[0] is node), None))
            elif node.type.dtype is DType.b1 and node.op == "max_pool":
                self._pool(node)
            elif node.type.dtype is DType.b1:
                self._moved(node)
        if not self._populations:
            self._populations.append(Population(NOTHING, (1,), input_emits=Emits.CHANGES, steps=1))
        if not any(p.output for p in self._populations):
            self._populations[-1].output = True
        return Network(self._populations, self._projections, channels_first=self._graph.channels_first)

    # -- what can be one ------------------------------------------------------------------------------------------

    def _refuse(self, node: Node, why: str) -> UnsupportedOpError:
        name = f" ({node.name})" if node.name else ""
        return UnsupportedOpError(
            f"op {self._numbers[node]}{name}: {why}: the event engine runs bits, and real values only before the first "
            "bits and after the last; a shortcut of real values between binary layers is not a spike, nor are numbers "
            "of several bits: leave them out, or use model(x)"
        )

    def _encodes(self, node: Node) -> bool:
        if node.type.dtype is not DType.b1:
            return False
        return node.op in (*_LAYERS, "binarize", "binarize_levels") and node not in self._looks

    def _check(self) -> None:
        real: set[Node] = set()
        for node in self._graph.schedule:
            after_real = any(i in real for i in node.inputs)
            if OPS[node.op].whole_batch:
                raise self._refuse(node, "a value of the whole batch")
            if node.type.dtype is DType.b1 or node.op == "bconv2d":
                self._check_layer(node)
            if node.type.dtype is not DType.b1:
                if after_real or any(i in self._spikes for i in node.inputs):
                    real.add(node)
                continue
            self._spikes.add(node)
            shortcut = node.op == "bconv2d" and "residual" in conv_attrs(node).slots
            if (after_real and node not in self._looks) or shortcut:
                raise self._refuse(node, "real values between spiking layers")
        self._real = real

    def _check_layer(self, node: Node) -> None:
        if node.op not in (*_MOVES, *_LAYERS, "bconv2d", "max_pool", "binarize", "binarize_levels"):
            raise self._refuse(node, "bits that are not spikes")
        if node in self._looks or self._encodes(node):
            return
        for x in node.inputs if node.op == "concat" else node.inputs[:1]:
            if x.is_constant:
                raise self._refuse(node, "spikes of a constant")
            channels = grid(x.type.shape)[2]
            if node.op == "bconv2d" and conv_attrs(node).planes > 1:
                channels = node.inputs[1].type.shape[3] * conv_attrs(node).groups
            if channels != grid(self._neurons(x).shape)[2]:
                raise self._refuse(node, "numbers of several bits between spiking layers")

    def _neurons(self, x: Node) -> Any:
        """The type of a value's neurons: several bits may be of one."""
        return x.inputs[0].type if x.op == "binarize_levels" else x.type

    def _only_added(self, node: Node) -> bool:
        users = self._graph.users()[node]
        return node not in self._graph.outputs and all(u.op == "bconv2d" for u in users)

    # -- populations and projections ------------------------------------------------------------------------------

    def _check_size(self, node: Node, shape: Shape) -> None:
        if (count := math.prod(shape)) > MOST_NEURONS:
            raise self._refuse(node, f"found {count} neurons, expected at most {MOST_NEURONS}")

    def _add(self, node: Node, rule: str, shape: tuple[int, int, int], origin: bool = True, **fields: Any) -> int:
        self._check_size(node, shape)
        number = self._numbers[node]
        name = f"{number} {node.name or node.op}" + ("" if origin else " moved")
        parameters = {"threshold": _ONE, "reset": _ZERO, "initial": _ZERO, **fields.pop("parameters", {})}
        emits = Emits.VALUES if rule == "sum" else Emits.CHANGES
        if rule == "input":
            p = Population(name, shape, input_emits=Emits.CHANGES, **fields)
        else:
            p = Population(name, shape, Dynamics(EVENT_RULES[rule], emits=emits), parameters, **fields)
        p.origin = number + 1 if origin else 0
        p.steps = p.steps or 1
        self._populations.append(p)
        return len(self._populations) - 1

    def _project(self, source: int, kind: Any, weights: Array, origin: Node | None = None, **fields: Any) -> None:
        target = len(self._populations) - 1
        for what in ("stride", "padding", "dilation", "window"):
            if max(fields.get(what, (1,))) > MOST_KERNEL:
                raise self._refuse(
                    origin or self._graph.schedule[self._populations[target].origin - 1],
                    f"found {what} {fields[what]}, expected at most {MOST_KERNEL}",
                )
        number = 0 if origin is None else self._numbers[origin] + 1
        self._projections.append(Projection(source, target, kind, weights, origin=number, **fields))

    def _convolve(self, node: Node, source: int, kind: type, scale: float = 1.0) -> None:
        """The weights of a convolution as ``kind``: float32 times ``scale``, or int8 with a scale."""
        a, w = conv_attrs(node), node.inputs[1]
        key = (w, a.groups, scale if kind is np.float32 else 0)
        if key not in self._rows:
            o, kh, kw, i = w.type.shape
            # the channels of all groups follow each other
            parts = w.value.reshape(a.groups, o // a.groups, kh, kw, i).transpose(0, 4, 2, 3, 1)
            made = parts.astype(kind) * np.float32(scale) if kind is np.float32 else parts.astype(kind)
            self._rows[key] = np.ascontiguousarray(made).reshape(a.groups * i, kh, kw, o // a.groups)
        self._project(
            source, "conv", self._rows[key], node, scale=1.0 if kind is np.float32 else scale, stride=a.stride,
            padding=a.pads[:2], dilation=a.dilation, groups=a.groups,
        )  # fmt: skip

    # -- sums of bits and levels ----------------------------------------------------------------------------------

    def _reach(self, node: Node) -> int:
        return int(np.prod(node.inputs[1].type.shape[1:])) * (2 ** conv_attrs(node).planes - 1)

    def _start(self, node: Node) -> Array:
        """A layer's sums where all its sources are clear: (1, 1, O), or (h, w, O) where windows reach outside."""
        a, w = conv_attrs(node), node.inputs[1].value
        h, wd, _ = grid(node.inputs[0].type.shape)
        oh, ow, _ = grid(node.type.shape)
        most = 2**a.planes - 1
        taps = w.sum(axis=3, dtype=np.int64)
        inside = []
        for axis, (size, out) in enumerate(((h, oh), (wd, ow))):
            at = (
                np.arange(out)[:, None] * a.stride[axis]
                - a.pads[axis]
                + np.arange(w.shape[1 + axis]) * a.dilation[axis]
            )
            inside.append((at >= 0) & (at < size))
        if all(part.all() for part in inside):
            return -most * taps.sum(axis=(1, 2))[None, None]
        ys, xs = (part.astype(np.int64) for part in inside)
        within = (ys @ taps @ xs.T).transpose(1, 2, 0)
        return -most * within + a.pad_value * most * (taps.sum(axis=(1, 2)) - within)

    def _lanes(self, node: Node) -> bool:
        return conv_attrs(node).planes == 1 and self._reach(node) <= _LANES and self._of(node).steps == 1

    def _of(self, node: Node) -> Population:
        return self._populations[self._bits[node.inputs[0]]]

    def _read(self, node: Node, lanes: bool) -> None:
        """The projection of a layer that reads bits or levels: each step of a source adds twice its weight."""
        self._convolve(node, self._bits[node.inputs[0]], np.int8 if lanes else np.float32, 2.0)

    def _synapses(self, node: Node) -> None:
        a = conv_attrs(node)
        channels, reach = node.type.shape[-1], self._reach(node)
        if "threshold" in a.slots:
            cuts = np.clip(node.inputs[a.operand("threshold")].value, -reach, reach + 1).astype(np.float32)
            sign = np.ones(channels, np.float32)
        else:
            self._check_numbers(node, [i.value for i in node.inputs[2:]], partial(_finished, node), reach, channels)
            cuts, sign = _whole_cuts(lambda v: (binarize(_finished(node, v)) > 0)[None], 1, channels, reach)
            cuts = cuts[:, 0]
        lanes = self._lanes(node) and bool((sign > 0).all() and np.isfinite(cuts).all())
        start = self._start(node).astype(np.float32)
        k = self._add(node, "counter", grid(node.type.shape), cuts=cuts.astype(np.float32), parameters={
            "initial": start.reshape(-1), "sign": sign if (sign < 0).any() else _ONE, "lowest": _ZERO,
            "threshold": _f32(reach),
        })  # fmt: skip
        self._read(node, lanes)
        self._bits[node] = k

    def _check_numbers(self, node: Node, operands: list[Array], f: Function, most: float, channels: int) -> None:
        """Refuse a function that gives infinities or NaN."""
        ends = _f32([-most], [most]) * np.ones(channels, np.float32)
        with np.errstate(all="ignore"):
            finite = all(np.isfinite(x).all() for x in operands) and np.isfinite(f(ends)).all()
        if not finite:
            raise self._refuse(node, "operands that make of spikes what is no number")

    def _sum(self, node: Node, seen: _Sums | None) -> None:
        ops = [node] if seen is None else seen.ops
        start = sum((self._start(op) for op in ops), np.zeros((1, 1, 1), np.int64)).astype(np.float32)
        if seen is not None and seen.added is not None:
            start = start + seen.added
        lanes = all(self._lanes(op) for op in ops) and sum(map(self._reach, ops)) <= _LANES
        initial = start.reshape(-1).astype(np.float32)
        k = self._add(node, "sum", grid(node.type.shape), output=True, parameters={"initial": initial})
        for op in ops:
            self._read(op, lanes)
        self._sums[node] = k

    # -- counters -------------------------------------------------------------------------------------------------

    def _seen(self, node: Node) -> _Sums | None:
        """What a quantizer looks at, if its neurons each depend on one sum of spikes."""
        x, functions, pool = node.inputs[0], list[Node](), None
        channels = grid(x.type.shape)[2] if len(node.inputs) == 3 else 0  # each with a threshold of its own
        while x.op != "bconv2d":
            c = grid(x.type.shape)[2]
            if x.op in ("input", "constant"):
                return None
            if x.op == "max_pool":
                if pool is not None:
                    return None
                pool = x
            elif x.op in ("add", "sub", "mul"):
                other = x.inputs[1]
                if not other.is_constant or other.value.size != c or grid(x.inputs[0].type.shape)[2] != c:
                    return None
            elif x.op not in ("affine", "clamp", "copy", "reshape"):
                return None
            if x.op in ("max_pool", "affine", "add", "sub", "mul"):
                if channels not in (0, c):
                    return None
                channels = c
            functions.append(x)
            x = x.inputs[0]
        if channels not in (0, grid(x.type.shape)[2]) or x.type.dtype is DType.b1:
            return None
        if pool is not None and grid(pool.inputs[0].type.shape) != grid(x.type.shape):
            return None  # its windows are not those of the sums: a reshape moved the pixels
        chain = self._chain(x)
        if chain is None or len(functions) > _MOST_FUNCTIONS:
            return None
        return _Sums(*chain, functions[::-1], pool)

    def _chain(self, node: Node) -> tuple[list[Node], Floats | None] | None:
        """The layers that are one sum, and a constant that is added: whole numbers, so that all is exact."""
        ops, allowed, reach = [node], {"residual", "clamp1"}, self._reach(node)
        while "residual" in (a := conv_attrs(node)).slots:
            if not set(a.slots) <= allowed:
                return None
            residual, allowed = node.inputs[a.operand("residual")], {"residual"}
            if residual.is_constant:
                added = np.broadcast_to(residual.value, node.type.shape).astype(np.float32)
                whole = (np.trunc(added) == added).all() and np.abs(added).max(initial=0) + reach < _EXACT
                return (ops, added.reshape(grid(node.type.shape))) if whole else None
            if residual.op != "bconv2d" or residual.type.dtype is DType.b1 or len(ops) == _MOST_ADDED:
                return None
            node = residual
            ops.append(node)
            reach += self._reach(node)
            if reach >= _EXACT:
                return None
        return (ops, None) if len(ops) == 1 or not a.slots else None

    def _most(self, seen: _Sums) -> int:
        return sum(map(self._reach, seen.ops)) + int(0 if seen.added is None else np.abs(seen.added).max(initial=0))

    def _counter(self, node: Node) -> None:
        seen = self._looks[node]
        first, most = seen.ops[0], self._most(seen)
        h, w, c = grid((seen.pool or first).type.shape)
        a = conv_attrs(first)

        def value(sums: Floats, until: Node | None = None) -> Floats:
            if "residual" in a.slots:  # the sum has it
                sums = np.clip(sums, *_f32(*a.clamp1)) if "clamp1" in a.slots else sums
            else:
                sums = _finished(first, sums)
            for x in seen.functions:
                if x is until:
                    break
                if x.op in _BY_CHANNEL:
                    sums = evaluate(x, [sums, *(i.value.reshape(-1) for i in x.inputs[1:])])
            return sums

        operands = [i.value for x in (first, *seen.functions) for i in x.inputs[1 + (x is first) :] if i.is_constant]
        self._check_numbers(node, [] if "residual" in a.slots else operands, value, most, c)
        steps = _steps_of(node)
        cuts, sign = _whole_cuts(lambda v: _reached(node, value(v)), steps, c, most)
        ends = _f32([-most], [most]) * np.ones(c, np.float32)
        low, high = value(ends, seen.pool) if seen.pool is not None else ends
        shape = grid(self._neurons(node).shape)
        moved = shape != (h, w, c)
        k = self._add(node, "counter", (h, w, c), steps=steps, cuts=cuts.reshape(-1), parameters={
            "sign": sign, "lowest": (low > high).astype(np.float32), "threshold": _f32(most),
        })  # fmt: skip
        source = self._populations[self._sums[first]].grid
        window = {"window": (1, 1)} if seen.pool is None else _window(seen.pool, source, (h, w, c))
        self._project(self._sums[first], "window", np.zeros(0, np.float32), **window)
        if moved:
            self._populations[k].name += " sums"
            self._add(node, "wire", shape, origin=False, steps=steps)
            self._project(k, "wires", np.arange(h * w * c, dtype=np.int32))
            k += 1
        self._bits[node] = k

    # -- bits that are looked at and moved ------------------------------------------------------------------------

    def _pool(self, node: Node) -> None:
        source, shape = grid(node.inputs[0].type.shape), grid(node.type.shape)
        every = (node.inputs[1].value.reshape(-1) > 0).astype(np.float32) if len(node.inputs) == 2 else _ZERO
        k = self._add(node, "any", shape, parameters={"every": every})
        window = _window(node, source, shape)
        self._project(self._bits[node.inputs[0]], "window", np.zeros(0, np.float32), node, **window)
        self._bits[node] = k

    def _moved(self, node: Node) -> None:
        self._check_size(node, node.type.shape)  # before there is a number of each
        operands = node.inputs if node.op == "concat" else node.inputs[:1]
        sizes = [math.prod(x.type.shape) for x in operands]
        starts = list(accumulate(sizes[:-1], initial=2))  # bits beside the moved ones are 1 or -1
        numbered = [
            np.arange(start, start + size).reshape(1, *x.type.shape)
            for x, start, size in zip(operands, starts, sizes, strict=True)
        ]
        others = [i.value for i in node.inputs[len(operands) :]]
        found = np.asarray(OPS[node.op].reference(*numbered, *others, a=node.attrs)).reshape(-1)
        k = self._add(node, "wire", grid(node.type.shape), parameters={"initial": (found == 1).astype(np.float32)})
        for x, start, size in zip(operands, starts, sizes, strict=True):
            mine = (found >= start) & (found < start + size)
            self._project(self._bits[x], "wires", np.where(mine, found - start, -1).astype(np.int32), node)
        self._bits[node] = k

    # -- the encoder ----------------------------------------------------------------------------------------------

    def _input_of(self, node: Node) -> tuple[Node | None, Node] | None:
        """(the convolution, the model's real input) of an encoder that is one convolution or quantizer on that."""
        conv = node if node.op == "conv2d" else node.inputs[0] if node.inputs[0].op == "conv2d" else None
        if node.op in ("iconv2d", "qconv2d") or (conv is not None and "residual" in conv_attrs(conv).slots):
            return None
        x = (conv or node).inputs[0]
        while x.op in ("copy", "reshape"):
            x = x.inputs[0]
        return (conv, x) if x.op == "input" and x.type.dtype is DType.f32 else None

    def _encoder(self, node: Node) -> None:
        found = self._input_of(node) if self._simple else None
        shape, steps = grid(self._neurons(node).shape), _steps_of(node)
        made = None if found is None else self._levels_of_floats(node, found[0], steps)
        if found is None or made is None:
            self._bits[node] = self._add(node, "input", shape, steps=steps)
            return
        conv, x = found
        near = grid((conv or node).inputs[0].type.shape)
        if (x, near) not in self._pixels:
            self._populations.append(Population(f"input {len(self._pixels)} {x.name}", near, input_emits=Emits.VALUES))
            self._populations[-1].steps = 1
            self._populations[-1].origin = self._graph.inputs.index(x) + 1
            self._pixels[x, near] = len(self._populations) - 1
        cuts, sign, most = made
        c = near[2] if conv is None else conv.type.shape[-1]
        k = self._add(node, "counter", shape, steps=steps, cuts=cuts.reshape(-1), parameters={
            "sign": sign if (sign < 0).any() else _ONE, "lowest": _ZERO, "threshold": _f32(most),
        })  # fmt: skip
        pixels = self._pixels[x, near]
        if conv is not None:
            self._convolve(conv, pixels, np.float32)
        else:
            self._project(pixels, "conv", np.ones((c, 1, 1, 1), np.float32), None, groups=c)
        self._bits[node] = k

    def _levels_of_floats(self, node: Node, conv: Node | None, steps: int) -> tuple[Floats, Floats, float] | None:
        """(cuts, signs, the largest sum for which they hold) of an encoder; None: there are none."""
        channels = grid(self._neurons(node).shape)[2]

        def value(sums: Floats) -> Floats:
            return sums if conv is None else _finished(conv, sums)

        for exponent in range(100, -1, -4):  # operands that are not finite never are
            most = float(2.0**exponent)
            ends = _f32([-most], [most]) * np.ones(channels, np.float32)
            with np.errstate(all="ignore"):
                finite = np.isfinite(value(ends)).all()
            if finite:
                return (*_cuts(lambda sums: _reached(node, value(sums)), steps, channels, most), most)
        return None


def _finished(conv: Node, sums: Floats) -> Floats:
    """What a convolution makes of its sums."""
    others = tuple(i.value for i in conv.inputs[2:])
    return epilogue(sums, conv_attrs(conv), others).astype(np.float32)


def _steps_of(node: Node) -> int:
    return int(node.inputs[1].value.size) if node.op == "binarize_levels" else 1


def _reached(node: Node, values: Floats) -> Array:
    """(steps, n, channels): whether values (n, channels) reach each level of a quantizer or a convolution to bits."""
    if node.op == "binarize_levels":
        return np.asarray(values[None] >= node.inputs[1].value.reshape(-1, 1, 1))
    others = [i.value.reshape(-1) for i in node.inputs[1:]] if node.op == "binarize" else []
    return np.asarray(binarize(values, *others) > 0)[None]


def _whole_cuts(reached: Callable[[Floats], Array], steps: int, channels: int, most: int) -> tuple[Floats, Floats]:
    return _bisected(reached, steps, channels, most, lambda n: n.astype(np.float32), -most, most)


def _cuts(reached: Callable[[Floats], Array], steps: int, channels: int, most: float) -> tuple[Floats, Floats]:
    low, high = (int(v) for v in order(_f32(-most, most)))
    return _bisected(reached, steps, channels, most, floats, low, high)


def _bisected(
    reached: Callable[[Floats], Array], steps: int, channels: int, most: float, number: Callable[[Array], Floats],
    lowest: int, highest: int,
) -> tuple[Floats, Floats]:  # fmt: skip
    """(cuts (channels, steps), signs (channels)): level = how many cuts are <= v * sign, for |v| <= most."""
    ends = _f32([-most], [most]) * np.ones(channels, np.float32)
    at_ends = reached(ends).sum(axis=0)
    sign = np.where(at_ends[0] > at_ends[1], np.float32(-1), np.float32(1))
    low, high = (np.full((steps, channels), v, np.int64) for v in (lowest, highest))
    step = np.arange(steps)[:, None]

    def levels(numbers: Array) -> Array:
        return reached(number(numbers) * sign).sum(axis=0)

    least, greatest = levels(low[:1]), levels(high[:1])
    while (high - low > 1).any():
        middle = (low + high) // 2
        up = levels(middle) > step
        low, high = np.where(up, low, middle), np.where(up, middle, high)
    cuts = number(high)
    cuts = np.where(least > step, np.float32(-np.inf), np.where(greatest > step, cuts, np.float32(np.inf)))
    return np.ascontiguousarray(cuts.T.astype(np.float32)), sign


def _window(node: Node, source: Shape, target: Shape) -> dict[str, Any]:
    """The projection's window, stride and padding of a max-pool; no larger than it must be."""
    a = node.attrs
    assert isinstance(a, PoolAttrs)
    found = []
    for axis in range(2):
        stride = a.stride[axis] if target[axis] > 1 else 1
        pad = min(a.pads[axis], (target[axis] - 1) * stride)  # no window begins later
        kernel = min(a.kernel[axis] - (a.pads[axis] - pad), source[axis] + pad)
        found.append((kernel, stride, pad))
    return dict(zip(("window", "stride", "padding"), zip(*found, strict=True), strict=True))
