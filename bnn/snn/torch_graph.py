# SPDX-License-Identifier: Apache-2.0
"""The graph that is recorded while a torch module runs: tensors, and the nodes that send them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import CompileError, InputError
from .network import Shape
from .nir_file import NirNode
from .simulators import Simulator

ALL, OVER = -1, -2
_LINEAR = ("Affine", "Linear", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Scale", "Flatten")
INPUT = "input"


@dataclass(frozen=True)
class Signal:
    """The sum of what nodes send.  ``shape``: of one sample in one step.  ``step``: whose it is; None: the same in
    every step; ALL: all steps, one after the other; OVER: made of several.  ``late``: nodes whose previous step is
    added to the sum."""

    nodes: tuple[str, ...]
    shape: Shape
    step: int | None = None
    late: tuple[str, ...] = ()


def _digest(value: Any) -> Any:
    return (value.shape, hashlib.sha256(value.tobytes()).digest()) if isinstance(value, np.ndarray) else value


class Recorder:
    """Tensors and nodes of one module, which is running."""

    def __init__(self, record: Simulator, module: Any, sample: Any) -> None:
        self.record, self.module, self.repeated = record, module, 0
        self.where = type(module).__name__
        self.paths = dict(module.named_modules())
        self.nodes: dict[str, NirNode] = {}
        self.into: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, Shape] = {}
        self.names: dict[Any, str] = {}  # of operations
        self.values: dict[int, tuple[Any, Signal]] = {}  # by id, with the tensor, so that no other gets its number
        self.running: list[str] = []  # parts
        self.given = sample  # the input; whether it has all steps is known when something is done with it
        self.whole = any(self.neuron(part) and record.whole(part) for part in self.paths.values())

    def neuron(self, part: Any) -> bool:
        return self.theirs(type(part)) and type(part).__name__ in self.record.modules

    def theirs(self, kind: type) -> bool:
        return kind.__module__.partition(".")[0] == self.record.name

    def part(self, path: str | None = None) -> str:
        """A part of the module, for messages: None: that which is running."""
        path = next(reversed(self.running), "") if path is None else path
        return f"'{path}' ({type(self.paths[path]).__name__})" if path else "its forward"

    def error(self, found: str, remedy: str, path: str | None = None) -> CompileError:
        kind = type(self.paths[next(reversed(self.running), "")])
        if path is None and self.theirs(kind):
            remedy = f"so there is no rule for {kind.__name__} of {self.record.title}; choose other neurons or layers"
        return CompileError(f"{self.where}: {self.part(path)}: found {found}; {remedy}")

    def put(self, tensor: Any, value: Signal) -> None:
        if str(tensor.dtype) != "torch.float32":
            raise self.error(f"a tensor of {tensor.dtype}, expected float32, in which networks compute", "call float()")
        self.values[id(tensor)] = (tensor, value)

    def of(self, tensor: Any) -> Signal:
        if tensor is self.given:
            self.decide(self.whole)
        return self.values[id(tensor)][1]

    def known(self, tensor: Any) -> bool:
        return id(tensor) in self.values or tensor is self.given

    def decide(self, whole: bool) -> None:
        """Whether the input has all steps, and so begins with time and batch; otherwise with the batch.  The first
        decision holds."""
        if INPUT in self.nodes:
            return
        flat = self.record.imported == "flat" and any("Squeeze" in type(part).__name__ for part in self.paths.values())
        lead = 2 if whole and not flat else 1
        shape = tuple(self.given.shape[lead:])
        if not 1 <= len(shape) <= 3:
            begin = "(steps, batch, ...)" if lead == 2 else "(batch, ...)"
            raise InputError(f"sample: found the shape {tuple(self.given.shape)}, expected {begin} and 1 to 3 more")
        self.add(INPUT, "Input", (), shape, {"shape": np.array(shape)})
        self.put(self.given, Signal((INPUT,), shape, ALL if whole else None))

    def add(self, name: str, kind: str, into: tuple[str, ...], shape: Sequence[int], values: Any) -> None:
        self.nodes[name], self.into[name], self.shapes[name] = NirNode(kind, values), into, tuple(shape)

    def node(self, kind: str, x: Signal, shape: Sequence[int], **values: Any) -> Signal:
        """What an operation on ``x`` sends."""
        if x.late:  # of a sum: the sum of both, where that is the same
            if kind not in _LINEAR:
                raise self.error(f"an operation ({kind}) on a sum with what was sent in the step before",
                                 "give that to neurons, or use recurrent neurons of the simulator")  # fmt: skip
            now = self.node(kind, replace(x, late=()), shape, **values)
            past = Signal(x.late, x.shape, (x.step or 0) - 1)
            if "bias" in values:
                values = {**values, "bias": np.zeros_like(values["bias"])}
            return replace(now, late=self.node(kind, past, shape, **values).nodes)
        key = (kind, x.nodes, *map(_digest, values.values()))
        if x.step == OVER:
            raise self.error("an operation on a sum or mean over steps", "return what is sent in each step instead")
        if key not in self.names:
            if x.step is not None and x.step > 0:
                raise self.error(f"an operation ({kind}) in step {x.step} that is not in step 0",
                                 "do the same in each step, whatever the data")  # fmt: skip
            self.names[key] = self.named(kind)
            self.add(self.names[key], kind, x.nodes, shape, values)
        return Signal((self.names[key],), tuple(shape), x.step)

    def named(self, kind: str) -> str:
        """The part that computes it, and what, if the part has several nodes."""
        own = next(reversed(self.running), "")
        taken = {INPUT, "output", "", *self.nodes, *self.paths}
        taken -= {own} - {"", *self.nodes} if not self.neuron(self.paths[own]) else set()
        base = f"{own}.{kind.lower()}".strip(".")
        return next(name for name in (own, base, *(f"{base}_{i}" for i in range(2, 2**14))) if name not in taken)

    def scaled(self, x: Signal, scale: Any, bias: Any = 0.0) -> Signal:
        """x * scale + bias, element by element."""
        values = {"scale": np.asarray(scale, np.float32), "bias": np.asarray(bias, np.float32)}
        for name, value in values.items():
            try:
                values[name] = np.broadcast_to(value, x.shape)
            except ValueError:
                raise self.error(f"a constant of the shape {value.shape} for {x.shape}",
                                 "give it one number, or one per neuron") from None  # fmt: skip
        return self.node("Scale", x, x.shape, **values)
