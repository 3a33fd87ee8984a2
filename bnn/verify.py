"""Compare a compiled model with the Keras model it came from, layer by layer.

Two questions, kept apart because float sums depend on their order:

(a) *layers*: every layer is fed Keras' own input, so nothing that came before matters.  A binary layer's accumulators
    and bits must be Keras' exactly; any difference is a bug.
(b) *end to end*: the model runs alone.  A bit may differ where a float pre-activation lies within rounding of its
    threshold; an image's first such bits are shown with that distance, and what follows from them is counted.

The reference is the Keras model's graph, executed eagerly op by op.  oneDNN changes the last bit of batch norms, so it
is switched off where TensorFlow is not imported yet and TF_ENABLE_ONEDNN_OPTS is not set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import InputError
from .importers.frozen import Frozen
from .importers.tensorflow import freeze, import_model
from .ir import Graph
from .passes import lower
from .runtime import Model, OpInfo, Stepper, TensorInfo

Array = np.ndarray[Any, Any]

# A pre-activation this close to its threshold, relative to the layer's standard deviation, is within float32 rounding
# of a sum of a few thousand terms.
ROUNDING = 1e-5
_PRE_MUL = 1  # the slot's bit


@dataclass
class LayerCheck:
    """One layer's comparison, summed over the images.

    ``compared`` and ``different`` count bits (kind "bits"), accumulators (kind "sums": exact integers) or floats
    (kind "floats": different means not bit-equal, which is rounding and no fault; ``largest`` says how much).
    ``exact`` is False where weights carry a scale: Keras' sums of scaled products round, so a bit may differ within
    rounding of its threshold.
    """

    layer: str
    op: str
    kind: str
    binary: bool
    exact: bool = True
    compared: int = 0
    different: int = 0
    largest: float = 0.0  # floats: difference; bits: distance of a differing one from its threshold

    def add(self, ours: Array, theirs: Array, margin: Array | None) -> None:
        """Count one chunk; ``margin``: |pre-activation| in standard deviations, where the source has it."""
        wrong = ours != theirs
        self.compared += wrong.size
        self.different += int(np.count_nonzero(wrong & ~(np.isnan(ours) & np.isnan(theirs))))
        if self.kind == "bits":
            if wrong.any():
                known = margin is not None and margin.size == wrong.size
                self.largest = max(self.largest, float(margin[wrong].max()) if margin is not None and known else np.inf)
        elif wrong.any():
            self.largest = max(self.largest, float(np.nanmax(np.abs(ours - theirs))))

    @property
    def failed(self) -> bool:
        """A binary layer that differs: a bug."""
        beyond = self.exact or self.largest > ROUNDING
        return self.binary and self.different > 0 and self.kind != "floats" and beyond


@dataclass
class EndToEnd:
    """The model alone: bits per layer, and what they did to the outputs."""

    layers: list[LayerCheck] = field(default_factory=list)
    images_with_different_bits: int = 0
    first_differences: int = 0
    beyond_rounding: int = 0  # of these, how many are not within rounding of their threshold
    largest_distance: float = 0.0
    classes_different: int = 0
    largest_output_difference: float = 0.0


@dataclass
class Report:
    """What ``verify`` found; ``ok`` is False if anything differs that rounding does not explain."""

    images: int
    layers: list[LayerCheck]
    end_to_end: EndToEnd

    @property
    def ok(self) -> bool:
        return not any(check.failed for check in self.layers) and self.end_to_end.beyond_rounding == 0

    @property
    def different_bits(self) -> int:
        """Bits and accumulators of binary layers that differ when fed Keras' own input."""
        return sum(check.different for check in self.layers if check.failed)


def verify(
    keras_model: Any,
    model: Model,
    data: Array | Sequence[Array],
    *,
    batch_size: int = 64,
    unsafe: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Compare ``model`` with the Keras model (or its file) on ``data``, (N, ...) as the model's input.

    ``progress`` is called with the number of images done since its last call.  Raises :class:`InputError` where the
    data do not fit, or the two models do not belong together.
    """
    if "tensorflow" not in sys.modules:  # its plain kernels round every operation alone; oneDNN fuses and reorders
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    arrays = [data] if isinstance(data, np.ndarray) else list(data)
    if not arrays or len(arrays) != len(model.input_shapes):
        raise InputError(f"found {len(arrays)} input arrays, expected {len(model.input_shapes)}")
    for array, shape, name in zip(arrays, model.input_shapes, model.input_names, strict=True):
        if array.shape[1:] != tuple(shape) or len(array) != len(arrays[0]) or not len(array):
            dims = ", ".join(map(str, shape))
            raise InputError(f"input '{name}': found {array.shape}, expected (N, {dims}) with N > 0")
    arrays = [_as_input(a, d, n) for a, d, n in zip(arrays, model.input_dtypes, model.input_names, strict=True)]
    frozen = freeze(keras_model, unsafe=unsafe)
    return _Verifier(frozen, model, batch_size).run(arrays, progress)


def _as_input(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Data as an input's; bytes are not made of other numbers."""
    if dtype == np.uint8 and array.dtype != dtype:
        raise InputError(f"input '{name}': found {array.dtype}, expected uint8, which the compiled network reads")
    return np.ascontiguousarray(array, dtype=dtype)


class _Verifier:
    def __init__(self, frozen: Frozen, model: Model, images: int) -> None:
        self.frozen, self.model = frozen, model
        self.fed, self.alone = model.stepper(images), model.stepper(images)
        dtypes = {n: d.name for n, d in zip(model.input_names, model.input_dtypes, strict=True)}
        source = import_model(frozen, input_dtype=dtypes)
        self.margins = _pre_activations(lower(source, until="recognize_quantizers"))
        self.outputs, self.scales = _accumulators(lower(source, until="binarize"))
        self.checks: dict[tuple[int, str], LayerCheck] = {}
        self.end = EndToEnd()
        self.end_checks: dict[int, LayerCheck] = {}
        self.binary = _binary_ops(model)
        self.exact = self._exact_ops()
        self.wanted = self._wanted()

    def _exact_ops(self) -> dict[int, bool]:
        """Which ops follow from exact sums: those of binary layers without a scale, and what only reads them."""
        exact = {t.index: True for t in self.model.tensors}
        for op in self.model.ops:
            own = op.op != "bconv2d" or op.layer in self.outputs
            exact[op.output] = own and all(exact[i] or bool(self.model.tensors[i].origin) for i in op.inputs)
        return {op.index: exact[op.output] for op in self.model.ops}

    def _wanted(self) -> list[str]:
        names = {t.origin for t in self.model.tensors if t.origin} | set(self.outputs.values())
        names |= {self.margins[t.origin] for t in self.model.tensors if t.origin in self.margins}
        known = {f"{n.name}:{i}" for n in self.frozen.nodes for i in range(8)}
        missing = sorted(names - known)
        if missing:
            raise InputError(
                f"the file was not compiled from this Keras model, which has no tensor '{missing[0]}'; compile it "
                "again, or give the model it came from"
            )
        names |= {f"{name}:{i}" for name, i in self.frozen.outputs}
        return sorted(names)

    def run(self, arrays: list[Array], progress: Callable[[int], object] | None) -> Report:
        images = len(arrays[0])
        for begin in range(0, images, self.fed.images):
            chunk = [a[begin : begin + self.fed.images] for a in arrays]
            placeholders = (self.frozen.by_name[name] for name in self.frozen.inputs)
            fed = [a.astype(n.attrs["dtype"]) for a, n in zip(chunk, placeholders, strict=True)]
            self._chunk(chunk, self.frozen.evaluate(fed, self.wanted))
            if progress is not None:
                progress(len(chunk[0]))
        self.end.layers = list(self.end_checks.values())
        return Report(images, list(self.checks.values()), self.end)

    def _chunk(self, chunk: list[Array], keras: dict[str, Array]) -> None:
        count = len(chunk[0])
        for stepper in (self.fed, self.alone):
            for tensor, array in zip(self._inputs(), chunk, strict=True):
                stepper.poke(tensor.index, array)
        clean = np.ones(count, bool)  # images in which no bit has differed yet
        for op in self.model.ops:
            out = self.model.tensors[op.output]
            self._sums(op, keras, count)
            ours = self.fed.step(op.index, count)
            alone = self.alone.step(op.index, count)
            theirs = self._theirs(out, keras, count)
            if theirs is None:
                continue
            margin = self._margin(out, keras, ours.shape)
            self._check(op, out).add(ours, theirs, margin)
            if out.dtype == "b1":
                clean = self._alone(op, out, alone, theirs, margin, clean)
            self.fed.poke(out.index, theirs)
        self.end.images_with_different_bits += int(np.count_nonzero(~clean))
        self._final(keras, count)

    def _inputs(self) -> list[TensorInfo]:
        return [t for t in self.model.tensors if t.storage == "input"]

    def _sums(self, op: OpInfo, keras: dict[str, Array], count: int) -> None:
        """The accumulators of a binary or an integer layer against those of Keras' own convolution."""
        origin = self.outputs.get(op.layer)
        if op.op not in ("bconv2d", "iconv2d") or origin is None:
            return
        scaled = op.op == "iconv2d" and op.layer_slots == _PRE_MUL
        if not scaled and (op.layer_slots or not op.slots and op.op == "bconv2d"):
            return
        theirs = keras[origin]
        ours = self.fed.step_raw(op.index, count)
        if not scaled and op.layer in self.scales:
            ours = ours * self.scales[op.layer]  # of integers: exact
        if theirs.size != ours.size:
            return
        check = self.checks.setdefault((op.index, "sums"), LayerCheck(op.layer, op.op, "sums", True))
        check.add(ours, theirs.reshape(ours.shape), None)

    def _theirs(self, tensor: TensorInfo, keras: dict[str, Array], count: int) -> Array | None:
        if not tensor.origin:
            return None
        value = keras[tensor.origin]
        if value.size != count * int(np.prod(tensor.shape)):
            return None
        return np.ascontiguousarray(value.reshape((count, *tensor.shape)), dtype=np.float32)

    def _margin(self, tensor: TensorInfo, keras: dict[str, Array], shape: tuple[int, ...]) -> Array | None:
        if tensor.dtype != "b1" or tensor.origin not in self.margins:
            return None
        value = np.abs(keras[self.margins[tensor.origin]])
        spread = float(np.std(value)) or 1.0
        return np.asarray(value / spread).reshape(shape)

    def _check(self, op: OpInfo, out: TensorInfo) -> LayerCheck:
        kind = "bits" if out.dtype == "b1" else "floats"
        name = out.name or op.layer
        check = LayerCheck(name, op.op, kind, self.binary[op.index], self.exact[op.index])
        return self.checks.setdefault((op.index, kind), check)

    def _alone(
        self, op: OpInfo, out: TensorInfo, alone: Array, theirs: Array, margin: Array | None, clean: Array
    ) -> Array:
        check = self.end_checks.setdefault(
            op.index, LayerCheck(out.name or op.layer, op.op, "bits", self.binary[op.index])
        )
        check.add(alone, theirs, margin)
        wrong = (alone != theirs).reshape(len(clean), -1)
        dirty = wrong.any(axis=1)
        first = dirty & clean
        if first.any():
            count = int(np.count_nonzero(wrong[first]))
            self.end.first_differences += count
            if margin is None:
                self.end.beyond_rounding += count
            else:
                distances = margin.reshape(len(clean), -1)[first][wrong[first]]
                self.end.beyond_rounding += int(np.count_nonzero(distances > ROUNDING))
                self.end.largest_distance = max(self.end.largest_distance, float(distances.max()))
        return np.asarray(clean & ~dirty)

    def _final(self, keras: dict[str, Array], count: int) -> None:
        outputs = [t for t in self.model.tensors if t.storage == "output"]
        for tensor, (name, i) in zip(sorted(outputs, key=lambda t: t.offset), self.frozen.outputs, strict=True):
            ours = _peek(self.alone, tensor, count).reshape(count, -1)
            theirs = keras[f"{name}:{i}"].reshape(count, -1)
            difference = np.abs(ours - theirs)
            if difference.size and not np.isnan(difference).all():
                largest = float(np.nanmax(difference))
                self.end.largest_output_difference = max(self.end.largest_output_difference, largest)
            if ours.shape[1] > 1 and tensor.offset == 0:
                self.end.classes_different += int(np.count_nonzero(ours.argmax(axis=1) != theirs.argmax(axis=1)))


def _binary_ops(model: Model) -> dict[int, bool]:
    """Which ops compute on bits alone, counted from the last value that is set to Keras' own."""
    # whether values are Keras', or follow from them exactly
    exact = {t.index: t.dtype in ("b1", "u8") for t in model.tensors}
    binary = {}
    for op in model.ops:
        data = [i for i in op.inputs if model.tensors[i].storage != "constant"]
        binary[op.index] = op.op not in ("cast", "conv2d", "binarize") and all(exact[i] for i in data[:1])
        out = model.tensors[op.output]
        exact[op.output] = out.dtype == "b1" and (bool(out.origin) or binary[op.index])
    return binary


def _peek(stepper: Stepper, tensor: TensorInfo, count: int) -> Array:
    return stepper.peek(tensor.index, count)


def _pre_activations(graph: Graph) -> dict[str, str]:
    """{origin of a quantizer's output: origin of its input}."""
    pairs = {n.origin: n.inputs[0].origin for n in graph.nodes() if n.op == "binarize"}
    return {bits: x for bits, x in pairs.items() if bits and x}


def _accumulators(graph: Graph) -> tuple[dict[str, str], dict[str, Array]]:
    """{layer: origin of its integer accumulators}, for layers that stand for one convolution each; and what those on
    bytes are multiplied by to be Keras'."""
    found: dict[str, list[str]] = {}
    scales: dict[str, Array] = {}
    for node in graph.nodes():
        if node.op in ("bconv2d", "iconv2d"):
            found.setdefault(node.name, []).append(node.origin)
        elif node.op == "mul" and node.inputs[0].op == "iconv2d" and not node.inputs[0].origin:
            found[node.inputs[0].name][-1] = node.origin
            scales[node.inputs[0].name] = node.inputs[1].value
    return {layer: origins[0] for layer, origins in found.items() if len(origins) == 1 and origins[0]}, scales
