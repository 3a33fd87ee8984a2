# SPDX-License-Identifier: Apache-2.0
"""Run a model one op at a time, for verification and layer-by-layer comparison."""

from __future__ import annotations

from .._arguments import check_count, check_kind
from .._types import Array, Floats
from ..errors import InputError
from .arrays import FLOAT32, INPUT_DTYPES, Inputs, TensorInfo, check_array, results
from .handles import FLOATS, Context, Opened, OpInfo, check
from .native import ffi, lib


class Stepper:
    """A context whose values can be set and read, and whose ops are run one by one.

    Made by :meth:`bnn.Model.stepper`. Tensors and ops are named by their numbers (:attr:`Model.tensors`,
    :attr:`Model.ops`). Activations live in one arena (passed ones beside it), so a value lasts only until another
    op's output takes its place: poke an op's inputs, step, and peek its output before going on.
    """

    def __init__(self, opened: Opened, images: int) -> None:
        self._opened = check_kind(opened, "Stepper", Opened, "a file that was opened: use Model.stepper(images)")
        self.images = check_count(images, "images")
        self._context = Context(opened, images, 1, stepping=True)

    def poke(self, tensor: int, values: Array) -> None:
        """Set an input or an activation: float32 (n, *shape), n up to :attr:`images`; a bit is values >= 0.

        An input of bytes also takes its own type."""
        info = self._tensor(tensor)
        own = info.dtype in ("u8", "i8") and getattr(values, "dtype", None) == INPUT_DTYPES[info.dtype]
        dense = check_array(values, f"tensor '{info.name}'", info.shape, FLOAT32, convert=own)
        check_count(len(dense), f"tensor '{info.name}': images", self.images)
        if lib.bnn_poke(self._context.pointer, info.index, ffi.from_buffer(FLOATS, dense), len(dense)) != lib.BNN_OK:
            bounds = {"u8": "0 to 255", "i8": "-128 to 127", "i16": "-32768 to 32767"}[info.dtype]
            raise InputError(f"tensor '{info.name}': expected only whole numbers from {bounds}")

    def peek(self, tensor: int, images: int) -> Floats:
        """The values of the first ``images`` images, float32 (images, *shape); bits are +1 and -1."""
        info = self._tensor(tensor)
        values = self._array(info, images)
        check(lib.bnn_peek(self._context.pointer, info.index, ffi.from_buffer(FLOATS, values), images), "peek")
        return values

    def step(self, op: int, images: int) -> Floats:
        """Run an op on its inputs' current values; returns its output as :meth:`peek` does."""
        info = self._op(op)
        values = self._array(self._tensor(info.output), images)
        self._context.call(images * info.work, "step", lib.bnn_step, info.index, images)
        check(lib.bnn_peek(self._context.pointer, info.output, ffi.from_buffer(FLOATS, values), images), "peek")
        return values

    def step_raw(self, op: int, images: int) -> Floats:
        """Run a convolution without the work that was fused into it: its accumulators, with its layer's own bias."""
        info = self._op(op)
        if info.op not in ("conv2d", "bconv2d", "iconv2d", "qconv2d"):
            raise InputError(f"op {op} ('{info.layer}') is '{info.op}', not a convolution: it has no accumulators")
        values = self._array(self._tensor(info.output), images)
        dense = ffi.from_buffer(FLOATS, values)
        self._context.call(images * info.work, "step_raw", lib.bnn_step_raw, info.index, dense, images)
        return values

    def _tensor(self, number: int) -> TensorInfo:
        tensors = self._opened.tensors
        info = tensors[check_count(number, "tensor number", len(tensors) - 1, 0)]
        if info.storage == "constant":
            raise InputError(f"tensor {number} is a constant; give the number of an activation")
        return info

    def _op(self, number: int) -> OpInfo:
        ops = self._opened.ops
        return ops[check_count(number, "op number", len(ops) - 1, 0)]

    def _array(self, tensor: TensorInfo, images: int) -> Floats:
        return results(check_count(images, "images", self.images), tensor)


def activations(opened: Opened, inputs: list[Inputs], micro_batch: int) -> dict[str, Floats]:
    """Every layer's output; see :meth:`Model.activations`."""
    batch = len(inputs[0])
    taps: dict[str, Floats] = {}
    plan = [(op, *_keys(opened, op)) for op in opened.ops]
    for op, hidden, key in plan:
        # If several ops have the same layer's name, the last one's output is the layer's.
        for name in filter(None, (hidden, key)):
            taps[name] = results(batch, opened.tensors[op.output])
    last = {name: op for op, hidden, key in plan for name in (hidden, key)}
    stepper = Stepper(opened, min(max(batch, 1), micro_batch))
    for begin in range(0, batch, stepper.images):
        part = slice(begin, min(begin + stepper.images, batch))
        images = part.stop - begin
        for tensor, array in zip(opened.inputs, inputs, strict=True):
            stepper.poke(tensor.index, array[part])
        for op, hidden, key in plan:
            if hidden and last[hidden] is op:
                taps[hidden][part] = stepper.step_raw(op.index, images)
            output = stepper.step(op.index, images)
            if last[key] is op:
                taps[key][part] = output
    return taps


def _keys(opened: Opened, op: OpInfo) -> tuple[str, str]:
    """(the layer whose accumulators an op's fused work hides, or ""; the layer that the op's output belongs to)"""
    tensor, fused = opened.tensors[op.output], op.slots & ~op.layer_slots
    # An output tensor has the model's name for it, which need not be its layer's.
    named = "" if tensor.storage == "output" and not fused and op.layer else tensor.name
    key = named or op.layer or f"{op.op}_{op.index}"
    return (op.layer if fused and op.layer != key else ""), key
