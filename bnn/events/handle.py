# SPDX-License-Identifier: Apache-2.0
"""Python objects for bnn_events.h: the engine, its memory, and its errors."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array, Floats
from ..errors import BnnError, InputError
from ..runtime.handles import FLOATS, Memory, Opened, Pulse, check, problem_text
from ..runtime.native import ffi, lib
from .counts import LayerCounts

if TYPE_CHECKING:
    from ..snn.handle import OpenedNetwork

KINDS = {
    lib.BNN_LAYER_ENCODER: "encoder",
    lib.BNN_LAYER_SYNAPSES: "synapses",
    lib.BNN_LAYER_POOL: "pool",
    lib.BNN_LAYER_RELAY: "relay",
    lib.BNN_LAYER_READOUT: "readout",
    lib.BNN_LAYER_SUMS: "sums",
    lib.BNN_LAYER_COUNTER: "counter",
}
# The memory layout of bnn_snn_change: in C populations, here their tensors.
SPIKE = np.dtype([("time", "u8"), ("tensor", "u4"), ("neuron", "u4"), ("sign", "i4"), ("_", "u4")])
# The default limit of an engine's memory: as for bnn_limits in bnn.h.
_BYTES, _FILE_TIMES, _FLOAT_TIMES = (64 + 256) * 2**20, 64, 256
_NEVER = 2 ** (8 * ffi.sizeof("size_t")) - 1


class Engine:
    """One bnn_events; arrays passed to it have been checked.

    Ctrl-C and other signals interrupt every long call: exceptions from their handlers propagate out of it.  The
    engine's state is then undefined: other calls raise BnnError until :meth:`reset`.
    """

    def __init__(self, opened: Opened, network: OpenedNetwork) -> None:
        self.opened, self.network = opened, network
        self._pulse = Pulse()  # from the start to the end: a call for a pixel is too short to set it each time
        needed, problem, engine = ffi.new("size_t *"), ffi.new("bnn_problem *"), ffi.new("bnn_events **")
        status = lib.bnn_events_size(opened.pointer, network.pointer, needed)
        if status == lib.BNN_OK:
            self.bytes: int = needed[0] + network.size
            check_bytes(self.bytes, opened)
            self._memory = Memory(needed[0])
            memory, pulse = self._memory.pointer, self._pulse
            status = lib.bnn_events_create(
                opened.pointer, network.pointer, memory, needed[0], pulse.poll, pulse.argument, engine, problem
            )
        if status == lib.BNN_ERROR_FORMAT:
            raise BnnError(f"the event populations are not of this network: {problem_text(problem)}")
        self._check(status, "events")
        self.pointer = engine[0]
        self.state_pointer = lib.bnn_events_network(self.pointer)
        self._spikes: Array | None = None
        self._held: Any = None

    def reset(self, inputs: list[Floats]) -> None:
        if self._spikes is not None:  # an interrupted run's
            self.stop_trace()
        self._accept(lib.bnn_events_reset(self.pointer, self._pointers(inputs)))

    def frame(self, inputs: list[Floats]) -> None:
        self._accept(lib.bnn_events_frame(self.pointer, self._pointers(inputs)))

    def _accept(self, status: int) -> None:
        if status == lib.BNN_ERROR_ARGUMENT:
            raise InputError("a byte input takes whole numbers of its type, 0 to 255 or -128 to 127; found others")
        if status == lib.BNN_ERROR_LIMIT:
            raise InputError(
                "found an input unlike those that prepare() was told of, expected multiples of the same power of two, "
                "not larger; call reset() first"
            )
        self._check(status, "frame")

    def _check(self, status: int, what: str) -> None:
        """Raise the exception that stopped the call, or an error for an unexpected status."""
        if status == lib.BNN_ERROR_STOPPED:
            self._pulse.reraise()
            raise BnnError(f"{what}: the event engine was interrupted and its state is undefined; call reset() first")
        check(status, what)

    def expect(self, step: float, bound: float) -> str:
        """Why pixels cannot be updated one by one; "" if they can."""
        status = lib.bnn_events_expect(self.pointer, step, bound)
        if status == lib.BNN_ERROR_OPCODE:
            if any(t.dtype != "f32" for t in self.opened.inputs):
                return "sums of an input of bytes are computed anew"
            return "what precedes the first bits is more than one convolution or quantizer on the input"
        if status == lib.BNN_ERROR_LIMIT:
            return f"the encoder's sums of multiples of {step:g} up to {bound:g} are not all exact in float32"
        self._check(status, "expect")
        return ""

    def pixel(self, index: int, value: float) -> None:
        if status := lib.bnn_events_pixel(self.pointer, 0, index, value):  # inlined to save microseconds
            self._check(status, "pixel")

    def run(self) -> None:
        if status := lib.bnn_events_run(self.pointer):
            self._check(status, "run")

    def time_frames(self, inputs: list[Floats]) -> Array:
        """Nanoseconds of a run after each frame."""
        if len(inputs) != 1:
            raise InputError(f"frames: the network has {len(inputs)} inputs; only one can be timed")
        (frames,) = inputs
        nanoseconds = np.empty(len(frames), np.uint64)
        size = int(np.prod(frames.shape[1:]))
        times = ffi.from_buffer("uint64_t[]", nanoseconds)
        self._accept(lib.bnn_timed_events(self.pointer, ffi.from_buffer(FLOATS, frames), size, times, len(frames)))
        return nanoseconds

    def output(self, index: int = 0) -> Floats:
        values = np.empty(self.opened.outputs[index].shape, np.float32)
        self._check(lib.bnn_events_output(self.pointer, index, ffi.from_buffer(FLOATS, values)), "output")
        return values

    def state(self, tensor: int) -> Floats:
        values = np.empty(self.opened.tensors[tensor].shape, np.float32)
        self._check(lib.bnn_events_state(self.pointer, tensor, ffi.from_buffer(FLOATS, values)), "state")
        return values

    def layers(self) -> list[Any]:
        """One bnn_events_layer per layer."""
        infos = [ffi.new("bnn_events_layer *") for _ in range(lib.bnn_events_layer_count(self.pointer))]
        for i, info in enumerate(infos):
            check(lib.bnn_events_get_layer(self.pointer, i, info), "layer")
        return infos

    def layer_counts(self, dense: dict[int, int]) -> tuple[LayerCounts, ...]:
        """The same with names; ``dense`` by op, if it differs from that of the running network."""
        rows = []
        for info in self.layers():
            op = self.opened.ops[info.op]
            encoder = info.kind == lib.BNN_LAYER_ENCODER
            rows.append(
                LayerCounts(
                    name=op.layer or self.opened.tensors[info.tensor].name,
                    kind=KINDS[info.kind],
                    op=info.op,
                    tensor=info.tensor,
                    neurons=info.neurons,
                    levels=info.levels,
                    dense=self._dense(info, dense),
                    events=info.events,
                    synops=info.synops,
                    spikes_up=info.up,
                    spikes_down=info.down,
                    synchronous=info.synchronous,
                    limit=None if info.limit == _NEVER else int(info.limit),
                    multiplies=encoder and op.op == "conv2d",
                )
            )
        return tuple(rows)

    def _dense(self, info: Any, dense: dict[int, int]) -> int:
        """That of a layer: of all ops whose sums are its sum."""
        ops = self._summed.get(info.op, {info.op})
        return sum(dense.get(op, 0) for op in ops) if ops & dense.keys() else int(info.dense)

    @cached_property
    def _summed(self) -> dict[int, set[int]]:
        """By the op of a population, those of the convolutions into it."""
        found: dict[int, set[int]] = {}
        for q in self.network.projections:
            origin = self.network.populations[q.target].origin
            if q.kind == "conv" and q.origin and origin:
                found.setdefault(origin - 1, set()).add(q.origin - 1)
        return found

    def counts(self) -> Array:
        """(4, layers): spikes up, spikes down, operations and events of each."""
        layers = self.layers()
        return np.array([[getattr(i, name) for i in layers] for name in ("up", "down", "synops", "events")], np.int64)

    def set_limit(self, layer: int, limit: int | None) -> None:
        self._check(lib.bnn_events_set_limit(self.pointer, layer, _NEVER if limit is None else limit), "limit")

    def calibrate(self) -> None:
        self._check(lib.bnn_events_calibrate(self.pointer, ffi.addressof(lib, "bnn_clock_ns")), "calibrate")

    def start_trace(self, capacity: int) -> None:
        self._spikes = np.zeros(capacity, SPIKE)
        self._held = ffi.from_buffer("bnn_snn_change[]", self._spikes, require_writable=True)
        lib.bnn_snn_set_trace(self.state_pointer, self._held, capacity)

    def stop_trace(self) -> tuple[Array, int]:
        """(the spikes written, the number of all spikes)"""
        spikes, count = self._spikes, int(lib.bnn_snn_traced(self.state_pointer))
        lib.bnn_snn_set_trace(self.state_pointer, ffi.NULL, 0)
        self._spikes = self._held = None
        if spikes is None:
            raise BnnError("no trace was started")
        spikes = spikes[: min(count, len(spikes))]
        spikes["tensor"] = self._tensors[spikes["tensor"]]
        return spikes, count

    @cached_property
    def _tensors(self) -> Array:
        """By population, the tensor whose neurons it has."""
        return np.array([self.opened.ops[p.origin - 1].output if p.origin else 0 for p in self.network.populations])

    def _pointers(self, inputs: list[Floats]) -> Any:
        self._buffers = [ffi.from_buffer(FLOATS, x) for x in inputs]
        return ffi.new("const float *[]", self._buffers)


def check_bytes(needed: int, opened: Opened) -> None:
    """Check an engine's memory: a small file can describe a large network, and each bit of its weights is a byte here.

    The limit is the model's ``max_bytes``; by default, the memory that bnn.h allows a model and its context together.
    """
    floats = sum(int(np.prod(t.shape)) for t in (*opened.inputs, *opened.outputs))
    most = opened.limits[0] or _BYTES + _FILE_TIMES * opened.size + _FLOAT_TIMES * 4 * floats
    if needed > most:
        raise InputError(
            f"the event engine of this network needs {needed} bytes, expected at most {most}; if you trust the file, "
            "open it with a larger max_bytes=; otherwise use model(x), or compile a smaller model"
        )
