# SPDX-License-Identifier: Apache-2.0
"""Compare a compiled model with the source model that it came from, layer by layer.

There are two comparisons, separate because float sums depend on their order:

(a) *layers*: every layer is fed the source's own input, so nothing before it matters.  Accumulators and bits of binary
    layers must equal the source's exactly; floats too, except for the rounding of float sums.
(b) *end to end*: the model runs alone.  A bit may differ if a float pre-activation lies within rounding of its
    threshold; the first such bits of an image are judged by that distance.  Up to them, floats must equal the source's
    except for rounding, and so must the outputs of an image in which no bit differs.

The reference is the source model's graph, executed op by op as its framework itself would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .._arguments import check_callable, check_count, check_kind
from .._text import printable
from .._types import Array
from ..errors import CompileError, InputError
from ..file.read import decode
from ..importers import is_module, open_source, round_plainly
from ..importers.common.source import SourceModel
from ..ir.graph import DType, Graph, Node
from ..ir.interpret import evaluate
from ..ir.ops import OPS, ConvAttrs
from ..ir.ops.conv import BIT_STEPS
from ..ir.ops.rounding import FUNCTION, NOTHING, TINY, gamma
from ..passes import lower
from ..runtime import Model, OpInfo, TensorInfo
from ..runtime.arrays import given
from .reference import accumulators, by_functions, exact_layers, likely_cause, pre_activations, shifts
from .report import Changes
from .results import ROUNDING, Comparison, EndToEnd, LayerCheck, VerifyReport, compare_bits, compare_floats, distances
from .rounding import QUANTIZERS, bound, by_bits, margins, rounded_up

__all__ = ["ROUNDING", "EndToEnd", "LayerCheck", "VerifyReport", "verify"]

_UNEVEN = 1e-6  # what passes/levels.py allows
_OFF_GRID = 127 * _UNEVEN  # of a step: what passes/integer_layers.py allows weights
_SLOTS_OF_STEPS = {"mul": 2, "add": 4}  # the bits of pre_mul and pre_add
_ZEROS = 1  # the bit of "zeros", which is part of the accumulator


def verify(
    source: Any,
    model: Model,
    data: Array | Sequence[Array] | Mapping[str, Array],
    *,
    batch_size: int | None = None,
    unsafe: bool = False,
    input_shape: Sequence[int] | None = None,
    zero: int = 0,
    allow_silent: bool = False,
    progress: Callable[[int], object] | None = None,
) -> VerifyReport:
    """Compare ``model`` with the source model (or its file) on ``data``, (N, ...) as the model's input; several inputs:
    a list, or a dict by their names.  Print the report, or see its :attr:`VerifyReport.ok`.

    ``batch_size``: images at a time; by default 64, or as many as make 2^24 values in all layers together.
    ``input_shape``, ``unsafe``, ``zero``: those given to ``compile``.  ``allow_silent``: accept a layer of which no bit
    changed from image to image, whose comparison says nothing; otherwise the report is not ``ok`` and names it (with
    one image: a layer whose bits all have one value).  ``progress`` is called with the number of images
    done since its last call.  A file is loaded as by ``bnn.compile``, without limits on memory and time; the command
    `bnn verify` has them.  Raises :class:`InputError`
    if the data do not fit, or the two models do not belong together.
    """
    check_kind(model, "model", Model, "a compiled model: bnn.load(path)")
    if batch_size is None:
        batch_size = images_of(model, 2**24, 64)
    check_count(batch_size, "batch_size")
    check_callable(progress, "progress")
    round_plainly()
    arrays = model.check_inputs(data, least=1, convert=True)
    options = {"unsafe": unsafe, "input_shape": input_shape, "zero": zero}
    if not is_module(source):
        original = open_source(source, **options)  # type: ignore[arg-type]
    else:
        example = [given(a[:2], model.layout == "NCHW") for a in arrays]
        try:
            original = open_source(source, example=tuple(example), **options)  # type: ignore[arg-type]
        except CompileError:  # bytes, for a module that was trained on floats
            floats = tuple(a.astype(np.float32) for a in example)
            original = open_source(source, example=floats, **options)  # type: ignore[arg-type]
    report = _Verifier(original, model, batch_size).run(arrays, progress)
    return replace(report, allow_silent=allow_silent)


def _from_another(source: SourceModel, why: str) -> InputError:
    return InputError(
        f"the file was not compiled from this {source.framework} model, {why}; compile the model, or give the one that "
        "the file came from"
    )


def images_of(model: Model, values: int, most: int) -> int:
    """How many images have that many ``values`` in the layers that are compared; at least 1, at most ``most``."""
    own = sum(math.prod(t.shape) for t in model.tensors if t.origin)
    return max(1, min(most, values // max(1, own)))


class _Run:
    """The compiled network op by op; ``errors``: how far a tensor's values may be from the source's."""

    def __init__(self, model: Model, nodes: Sequence[Node], images: int, own: dict[int, float]) -> None:
        self.nodes, self.own = nodes, own
        self.inputs = _stored(model, "input")
        self.stepper = model.stepper(images)
        self.errors: dict[int, Array] = {}

    def begin(self, chunk: list[Array]) -> None:
        self.errors = {}
        for tensor, array in zip(self.inputs, chunk, strict=True):
            self.stepper.poke(tensor.index, array)

    def step(self, op: OpInfo, count: int) -> tuple[Array, Array]:
        """An op's result, and how far it may be from the source's."""
        errors = [self.errors.get(i, NOTHING) for i in op.inputs]
        limit = bound(self.nodes[op.index], partial(self._read, op, count), errors, self.own.get(op.index, 0.0))
        self.errors[op.output] = limit
        return self.stepper.step(op.index, count), limit

    def _read(self, op: OpInfo, count: int) -> list[Array]:
        """An op's operands."""
        pairs = zip(self.nodes[op.index].inputs, op.inputs, strict=True)
        return [n.value if n.is_constant else self.stepper.peek(i, count) for n, i in pairs]

    def distances(self, op: OpInfo, count: int, shape: tuple[int, ...]) -> Array:
        """The distance of an op's bits from their threshold: of a quantizer's; others are within rounding if their
        bound says so."""
        node = self.nodes[op.index]
        if node.op not in QUANTIZERS:
            return np.zeros(shape)
        operands = self._read(op, count)
        return by_bits(node, distances(margins(node, operands), operands[0]))


class _Verifier:
    def __init__(self, original: SourceModel, model: Model, images: int) -> None:
        self.original, self.model = original, model
        self.source = self._source()
        recognized = lower(self.source, until="recognize_quantizers")
        binary = lower(self.source, until="integer_layers")
        self.margins = pre_activations(binary) | pre_activations(recognized)
        self.exact_layers = exact_layers(recognized)
        self.shifts = shifts(recognized)
        self.sums = accumulators(binary)
        self.trained = {node.name for node in binary.nodes() if node.op == "qconv2d"}  # to be integers
        self.levels = {n.origin: n.inputs[1].value for n in binary.nodes() if n.op == "dequantize" and n.origin}
        self.nodes = decode(model.to_bytes()).schedule
        # Of the source's own bytes.
        self.bytes = {n.origin for n in self.source.nodes() if n.type.dtype is DType.u8 and n.origin}
        own = self._own_rounding()
        self.fed, self.alone = (_Run(model, self.nodes, images, own) for _ in range(2))
        self.checks: dict[tuple[int, str], LayerCheck] = {}
        self.changes: dict[str, Changes] = {}
        self.end = EndToEnd()
        self.end_checks: dict[int, LayerCheck] = {}
        self.binary = binary_ops(model)
        self.quantized = sum(_is_quantized(model, op) and op.layer not in self.trained for op in model.ops)
        self.most = np.inf if self.quantized else ROUNDING  # half a step of a byte turns bits far from their thresholds
        self.exact = self._exact_ops()
        self.wanted = self._wanted()

    def _source(self) -> Graph:
        """The source model's graph, with inputs as in the file, matched by order, since numbers in names may differ."""
        names, dtypes = self.original.input_names, [d.name for d in self.model.input_dtypes]
        if len(names) != len(dtypes):
            kind = self.original.framework
            raise InputError(f"found a {kind} model with {len(names)} inputs, expected {len(dtypes)} like the file")
        try:
            source = self.original.graph(dict(zip(names, dtypes, strict=True)))
        except CompileError as error:
            if "input_dtype" not in str(error):  # whose remedy is for bnn.compile
                raise
            raise _from_another(self.original, "whose inputs have another type") from error
        stored = [t.shape for t in _stored(self.model, "input")]
        for node, shape, name in zip(source.inputs, stored, names, strict=True):
            if node.type.shape != shape:
                raise InputError(
                    f"input '{name}': the {self.original.framework} model takes images {node.type.shape}, the file "
                    f"{shape}; give the input shape that the file was compiled with, or the model it came from"
                )
        return source

    def _own_rounding(self) -> dict[int, float]:
        """Per op, how far the source may be from the integers, or the table, of the compiled network.

        Sums of binary layers whose weights have a scale, in units of that scale: the magnitudes of K products of signs
        add up to K.  For levels n from 0 to top, computed from the signs 2 n - top, they add up to 2 K top; to twice
        that if the first level is not zero, but within the levels' range of it.  Levels and weights that count as
        evenly spaced are so up to 1e-6 of their range.  Offsets of weights, and of levels, make products larger.
        Bytes and int8 weights are at most half a step from the source's floats; those of training are within rounding.
        """
        own = {}
        curved = by_functions(self.source)
        for op, node in zip(self.model.ops, self.nodes, strict=True):
            out = self.model.tensors[op.output]
            if _kind(self, out) == "bytes":
                continue
            if out.origin in curved and out.dtype == "b1":  # how far from the threshold depends on the function
                own[op.index] = np.inf
            elif op.op == "bconv2d" and _is_quantized(self.model, op):
                own[op.index] = 1 / BIT_STEPS  # of a bias; the bytes are within one more
            elif op.op == "bconv2d" and op.layer not in self.sums.origins and op.layer not in self.exact_layers:
                assert isinstance(node.attrs, ConvAttrs)
                products, top = int(np.prod(node.inputs[1].type.shape[1:])), 2**node.attrs.planes - 1
                levels = top > 1 or op.layer in self.sums.offset
                own[op.index] = (2 * gamma(products) + 4 * _UNEVEN) * products * top * (4 if levels else 1)
                own[op.index] *= self.shifts.get(op.layer, 1.0)
            elif op.op in ("quantize", "qconv2d"):
                own[op.index] = _OFF_GRID if op.layer in self.trained else 0.5
            elif out.origin in curved and op.op in ("cast", "dequantize") and len(node.inputs) > 1:
                own[op.index] = FUNCTION * max(1.0, float(np.abs(node.inputs[1].value).max()))
        return own

    def _exact_ops(self) -> dict[int, bool]:
        """Which ops follow from exact sums: sums of binary layers without a scale, and ops that read only these."""
        exact = {t.index: True for t in self.model.tensors}
        for op in self.model.ops:
            made = op.op == "quantize" or _is_quantized(self.model, op)
            whole = not made or self.model.tensors[op.output].origin in self.bytes
            own = whole and (op.op != "bconv2d" or op.layer in self.sums.origins)
            exact[op.output] = own and all(exact[i] or bool(self.model.tensors[i].origin) for i in op.inputs)
        return {op.index: exact[op.output] for op in self.model.ops}

    def _wanted(self) -> list[str]:
        names = {t.origin for t in self.model.tensors if t.origin} | set(self.sums.origins.values())
        for tensor in self.model.tensors:
            names |= self.margins[tensor.origin].origins if tensor.origin in self.margins else set()
        return sorted(names | {*self.original.outputs})

    def run(self, arrays: list[Array], progress: Callable[[int], object] | None) -> VerifyReport:
        images, with_nan = len(arrays[0]), 0
        batch = self.fed.stepper.images
        for begin in range(0, images, batch):
            chunk = [a[begin : begin + batch] for a in arrays]
            values = self._values(chunk)
            numbers = self._numbers(chunk, values)
            count, compared = len(numbers), int(np.count_nonzero(numbers))
            if 0 < compared < count:
                chunk = [a[numbers] for a in chunk]
                values = self._values(chunk)
            if compared:
                self._chunk(chunk, values)
            with_nan += count - compared
            if progress is not None:
                progress(count)
        if with_nan == images:
            raise InputError("in every image NaN reaches a quantizer, so nothing can be compared; give other images")
        self.end.layers = list(self.end_checks.values())
        unchanged = [layer for layer, changes in self.changes.items() if changes.none]
        report = VerifyReport(
            images, list(self.checks.values()), self.end, with_nan, framework=self.original.framework,
            unchanged=unchanged, quantized=self.quantized,
        )  # fmt: skip
        if report.differs:
            report.hint = likely_cause(self.original, self.source, self.nodes)
        return report

    def _values(self, chunk: list[Array]) -> dict[str, Array]:
        """The source model's values, by the names of its tensors."""
        try:
            return self.original.evaluate(chunk, self.wanted)
        except KeyError as error:  # with the tensor's name, which is of no use to a user
            named = ((self.model.tensors[op.output].origin, op.layer) for op in self.model.ops)
            _, layer = max((pair for pair in named if pair[0] and pair[0] in str(error)), default=("", ""))
            what = f"its layer '{printable(layer)}'" if layer else "one of its layers"
            raise _from_another(self.original, f"which lacks {what}") from error

    def _numbers(self, chunk: list[Array], values: dict[str, Array]) -> Array:
        """The images in which no quantizer meets NaN; in the others all outputs must be NaN.

        If all values of the source are finite, NaN outputs would be a bug: those images are compared.
        """
        count = len(chunk[0])
        numbers = np.ones(count, bool)
        for array in (*chunk, *values.values()):
            if array.shape[:1] == (count,):
                numbers &= np.isfinite(array.reshape(count, -1)).all(axis=1)
        odd = np.flatnonzero(~numbers)
        if odd.size and any(t.dtype == "b1" for t in self.model.tensors):
            if self.model.whole_batch:  # NaN in one image reaches all
                odd = np.arange(count)
            found = self.model([a[odd] for a in chunk] if len(chunk) > 1 else chunk[0][odd])
            outputs = found if isinstance(found, list) else [found]
            numbers[odd] = ~np.all([np.isnan(y.reshape(odd.size, -1)).all(axis=1) for y in outputs], axis=0)
        else:
            numbers[:] = True
        return numbers

    def _chunk(self, chunk: list[Array], values: dict[str, Array]) -> None:
        count = len(chunk[0])
        self.fed.begin(chunk)
        self.alone.begin(chunk)
        clean = np.ones(count, bool)  # images in which no bit has differed yet
        limits: dict[int, Array] = {}
        for op in self.model.ops:
            out = self.model.tensors[op.output]
            self._sums(op, values, count)
            ours, limit = self.fed.step(op, count)
            alone, limits[out.index] = self.alone.step(op, count)
            if out.dtype == "b1":  # planes of one quantizer have one name
                self.changes.setdefault(out.name or op.layer, Changes()).add(out.index, ours)
            theirs, wide = self._theirs(out, values, count), limits[out.index]
            if theirs is None:
                if out.dtype == "b1" and not OPS[op.op].moves:  # of levels, say: the source has values that give them
                    found = compare_bits(
                        alone, ours, wide, partial(self.fed.distances, op, count, ours.shape), self.most
                    )
                    clean = self._alone(op, out, found, wide, clean)
                    self.alone.errors[out.index] = limit
                continue
            far = partial(self._distances, out, values, ours.shape)
            self._check(op, out).add(self._compare(out, ours, theirs, limit, far))
            clean = self._alone(op, out, self._compare(out, alone, theirs, wide, far), wide, clean)
            self.fed.stepper.poke(out.index, theirs)
            self.fed.errors[out.index] = NOTHING
        self.end.images_with_different_bits += int(np.count_nonzero(~clean))
        self._final(values, limits, clean)

    def _sums(self, op: OpInfo, values: dict[str, Array], count: int) -> None:
        """Compare the accumulators of a binary or an integer layer with those of the source's own convolution."""
        origin = self.sums.origins.get(op.layer)
        if op.op not in ("bconv2d", "iconv2d") or origin is None:
            return
        steps = self.sums.steps[op.layer]
        own = op.layer_slots & ~_ZEROS
        done = bool(steps) and own == sum(_SLOTS_OF_STEPS[step.op] for step in steps)
        if not done and (own or not op.slots and op.op == "bconv2d"):
            return
        theirs = values[origin]
        ours = self.fed.stepper.step_raw(op.index, count)
        if theirs.size != ours.size:
            return
        for step in steps if not done else ():  # exact, like the source's sums
            ours = evaluate(step, [ours, step.inputs[1].value])
        check = self.checks.setdefault((op.index, "sums"), LayerCheck(op.layer, op.op, "sums", True))
        found = compare_floats(ours, theirs.reshape(ours.shape), NOTHING)
        check.add(found._replace(beyond=found.different))

    def _theirs(self, tensor: TensorInfo, values: dict[str, Array], count: int) -> Array | None:
        if not tensor.origin:
            return None
        value = values[tensor.origin]
        if value.size != count * int(np.prod(tensor.shape)):
            return None
        if tensor.dtype == "u8" and tensor.origin in self.levels:  # the levels' numbers
            known = self.levels[tensor.origin]
            value = np.searchsorted((known[1:] + known[:-1]) / 2, value)
        return np.ascontiguousarray(value.reshape((count, *tensor.shape)), dtype=np.float32)

    def _distances(self, tensor: TensorInfo, values: dict[str, Array], shape: tuple[int, ...]) -> Array:
        """The distance of bits' pre-activations from their threshold; infinite where it is not known."""
        x = self.margins.get(tensor.origin)
        if x is None or np.prod(x.x.type.shape) != np.prod(shape[1:]):
            return np.full(shape, np.inf)
        return distances(x.margins(values, shape))

    def _compare(
        self, out: TensorInfo, ours: Array, theirs: Array, limit: Array, far: Callable[[], Array]
    ) -> Comparison:
        if out.dtype == "b1":
            return compare_bits(ours, theirs, limit, far, self.most)
        return compare_floats(ours, theirs, limit)

    def _check(self, op: OpInfo, out: TensorInfo) -> LayerCheck:
        kind = _kind(self, out)
        check = LayerCheck(out.name or op.layer, op.op, kind, self.binary[op.index], self.exact[op.index])
        return self.checks.setdefault((op.index, kind), check)

    def _alone(self, op: OpInfo, out: TensorInfo, found: Comparison, limit: Array, clean: Array) -> Array:
        """Count what differs end to end; returns which images still have no different bit."""
        kind = _kind(self, out)
        check = LayerCheck(out.name or op.layer, op.op, kind, self.binary[op.index])
        check = self.end_checks.setdefault(op.index, check)
        if kind != "bits":
            check.add(found.of(clean))
            # Later ops are allowed their input's difference here, as far as rounding explains it.
            allowed = rounded_up(np.minimum(found.amount, limit + TINY))
            self.alone.errors[out.index] = allowed if kind == "floats" and found.different.any() else NOTHING
            return clean & ~_turned(self.nodes[op.index], found) if op.op == "dequantize" else clean
        self.alone.errors[out.index] = NOTHING  # in the images that are judged from here on
        dirty = found.different.reshape(len(clean), -1).any(axis=1)
        first = found.of(dirty & clean)
        check.add(found._replace(beyond=first.beyond))
        self.end.first_differences += int(np.count_nonzero(first.different))
        self.end.beyond_rounding += int(np.count_nonzero(first.beyond))
        self.end.largest_distance = max(self.end.largest_distance, float(first.amount.max(initial=0)))
        if self.model.whole_batch and dirty.any():  # a difference in one image reaches all
            dirty = np.ones_like(dirty)
        return np.asarray(clean & ~dirty)

    def _final(self, values: dict[str, Array], limits: dict[int, Array], clean: Array) -> None:
        count = len(clean)
        beyond, other_class = np.zeros(count, bool), np.zeros(count, bool)
        for tensor, name in zip(_stored(self.model, "output"), self.original.outputs, strict=True):
            ours = self.alone.stepper.peek(tensor.index, count)
            theirs = values[name]
            if theirs.shape[:1] != (count,) or theirs.size != ours.size:
                raise InputError(
                    f"output '{tensor.name}': the {self.original.framework} model gives {theirs.shape} for {count} "
                    f"images, the file {ours.shape}; is the batch its first dimension?"
                )
            theirs = theirs.reshape(ours.shape)
            found = compare_floats(ours, theirs, limits[tensor.index])
            largest = float(found.amount.max(initial=0))
            self.end.largest_output_difference = max(self.end.largest_output_difference, largest)
            beyond |= found.beyond.reshape(count, -1).any(axis=1)
            ours, theirs = ours.reshape(count, -1), theirs.reshape(count, -1)
            if ours.shape[1] > 1 and tensor.offset == 0:
                other_class = ours.argmax(axis=1) != theirs.argmax(axis=1)
        self.end.images_judged += int(np.count_nonzero(clean))
        self.end.outputs_beyond_rounding += int(np.count_nonzero(beyond & clean))
        self.end.classes_different += int(np.count_nonzero(other_class))
        self.end.classes_beyond_rounding += int(np.count_nonzero(other_class & beyond & clean))


def _is_quantized(model: Model, op: OpInfo) -> bool:
    """Whether a layer is of bytes by int8 weights, or of bits and gives bytes or int16."""
    return op.op == "qconv2d" or (op.op == "bconv2d" and model.tensors[op.output].dtype in ("u8", "i16"))


def _kind(verifier: _Verifier, out: TensorInfo) -> str:
    """What a value is compared as."""
    if out.dtype == "u8" and out.origin in verifier.bytes:
        return "bytes"
    return "bits" if out.dtype == "b1" else "floats"


def _turned(dequantize: Node, found: Comparison) -> Array:
    """The images in which a quantizer that gives floats has another level: like a bit that differs, it may change
    everything after it."""
    table = dequantize.inputs[1].value
    smallest = np.abs(np.diff(table)).min() if len(table) > 1 else np.inf
    return np.asarray((found.different & (found.amount > smallest / 2)).reshape(len(found.different), -1).any(axis=1))


def _stored(model: Model, storage: str) -> list[TensorInfo]:
    """The network's inputs or outputs, in order."""
    return sorted((t for t in model.tensors if t.storage == storage), key=lambda t: t.offset)


def binary_ops(model: Model) -> dict[int, bool]:
    """The ops that compute only on bits, counted from the last value that is set to the source's own."""
    # Ops that read floats, or make floats from bytes.  A list, not a trait: only this report uses it.
    starts = ("cast", "conv2d", "binarize", "excess_128", "quantize")
    # whether values are the source's own, or follow exactly from its values
    exact = {t.index: t.dtype in ("b1", "u8", "i8") for t in model.tensors}
    binary = {}
    for op in model.ops:
        data = [i for i in op.inputs if model.tensors[i].storage != "constant"]
        binary[op.index] = op.op not in starts and all(exact[i] for i in data[:1])
        out = model.tensors[op.output]
        exact[op.output] = out.dtype == "b1" and (bool(out.origin) or binary[op.index])
    return binary
