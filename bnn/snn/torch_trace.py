# SPDX-License-Identifier: Apache-2.0
"""What a torch module computes, recorded while it runs: NIR's nodes between neurons, and the neurons themselves.

Every function of torch that gets a tensor that comes from the input passes here.  Neurons of the simulator are taken
whole.  A tensor is what one node sends, or the sum of several; an operation that was met before is the same node, so
each step must repeat the first.  What is not understood is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._types import Array
from ..errors import BnnError, InputError, UnsupportedOpError
from .calling import prepared, quiet
from .nir_file import NirNode
from .simulators import Simulator
from .torch_functions import FUNCTIONS, PLAIN
from .torch_graph import ALL, INPUT, OVER, Recorder, Signal

_STEPS = 3  # of a module that takes one at a time
_MEMBRANE = ":v"  # ends the name of what neurons return last


@dataclass(frozen=True, eq=False)
class Traced:
    """``nodes`` in the order in which they run, ``edges`` with whether they carry what was sent a step before;
    ``output``: the node whose values the module returns, of each step unless ``warnings`` say otherwise;
    ``membranes``: the neurons that send membranes; ``way``: how the module is called (``calling.WAYS``); ``x``: (steps,
    *shape), the sample; ``where``: the module's class, for messages."""

    nodes: Mapping[str, NirNode]
    edges: list[tuple[str, str, bool]]
    output: str
    membranes: frozenset[str]
    way: str
    x: Array
    warnings: list[str]
    where: str


def trace(record: Simulator, module: Any, sample: Any, more: int) -> Traced:
    """What a module computes of ``sample``, a tensor as it takes it; ``more``: how many states its forward takes, too.

    Raises CompileError, UnsupportedOpError: names the part of the module, and what was found there; InputError: the
    module fails.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    tracer = _Tracer(record, module, sample)

    class Mode(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return tracer.call(func, args, kwargs or {})

    hooks = [hook for path, part in module.named_modules() for hook in tracer.hooks(path, part)]
    try:
        with torch.no_grad(), quiet(), prepared(record.name, module), Mode():
            tracer.run(more if record.states else 0)
    except BnnError:
        raise
    except Exception as error:  # of any kind
        text = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"{tracer.where}: called with a sample of the shape {tuple(sample.shape)}, it fails in {tracer.part()} "
            f"({type(error).__name__}: {text}); expected a sample as it takes it, with the batch"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return tracer.traced()


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif hasattr(value, "detach"):
        yield value


class _Tracer(Recorder):
    def __init__(self, record: Simulator, module: Any, sample: Any) -> None:
        super().__init__(record, module, sample)
        self.late: dict[str, tuple[str, ...]] = {}  # to a node, from the step before
        self.back: dict[str, tuple[str, ...]] = {}  # likewise, to neurons by hand
        self.constants: dict[str, Array] = {}  # the biases of these
        self.inside = 0  # neurons
        self.calls: dict[str, int] = {}  # of neurons
        self.results: list[Signal] = []
        self.more = 0

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self, more: int) -> None:
        """The module, once; and again if that is one step."""
        if self.neuron(self.module):
            raise self.error("neurons alone", "put them into a torch.nn.Sequential", "")
        states: tuple[Any, ...] = (None,) * more
        self.more = more
        for call in range(_STEPS):
            x = self.given if call == 0 else self.given.clone()
            if call:
                self.put(x, Signal((INPUT,), self.shapes[INPUT], call))
            result = self.module(x, *states)
            if more and isinstance(result, tuple):
                states = result[1 : 1 + more]
            self.results.append(self.returned(result))
            most = max(self.calls.values(), default=0)
            if most != call + 1 or any(self.record.whole(self.paths[name]) for name in self.calls):
                break
        for name, count in self.calls.items():
            if count != most and not self.record.whole(self.paths[name]):
                raise self.error(f"{count} calls, where others are called {most} times",
                                 "call each of the neurons once in every step", name)  # fmt: skip

    def returned(self, result: Any) -> Signal:
        """What a call returned, of several things the first."""
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(first, list) and first:
            return FUNCTIONS["stack"](self, None, first)
        if not self.known(first):
            raise self.error(f"that it returns {type(first).__name__} that does not come from the input",
                             "return what neurons or layers send first", "")  # fmt: skip
        value = self.of(first)
        if value.late:
            raise self.error("that it returns a sum with what was sent in the step before", "return spikes", "")
        return value if len(value.nodes) == 1 else self.scaled(value, 1.0)

    def hooks(self, path: str, part: Any) -> Iterator[Any]:
        def before(part: Any, args: Any) -> None:
            self.running.append(path)
            self.inside += self.neuron(part)

        def after(part: Any, args: Any, kwargs: Any, result: Any) -> None:
            self.inside -= self.neuron(part)
            if self.neuron(part) and not self.inside:
                self.fired(path, part, [*args, *kwargs.values()], list(_tensors(result)))
            elif path and not self.inside:
                made = next(_tensors(result), None)
                if made is not None and not self.known(made) and any(map(self.known, _tensors((args, kwargs)))):
                    # As autograd functions and compiled ones make.
                    raise self.error("a result that cannot be followed from what it was given", "leave it out")
            self.running.pop()

        yield part.register_forward_pre_hook(before)
        yield part.register_forward_hook(after, with_kwargs=True)

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A function of torch."""
        result = func(*args, **kwargs)
        if self.inside or not any(self.known(tensor) for tensor in _tensors((args, kwargs))):
            return result
        name = (func.__self__ if func.__name__ == "__get__" else func).__name__.strip("_")
        if name in PLAIN:
            return result
        if name not in FUNCTIONS:
            found = f"the function {name} on what comes from the input, for which there is no rule"
            remedy = "leave it out, or compile the part of the module before it"
            raise UnsupportedOpError(str(self.error(found, remedy)))
        try:
            value = FUNCTIONS[name](self, result, *args, **kwargs)
        except TypeError as error:
            raise self.error(
                f"the function {name}, called otherwise than is read ({error})", "call it plainly"
            ) from None
        for tensor, its in zip(result, value, strict=True) if isinstance(value, list) else [(result, value)]:
            self.put(tensor, its)
        return result

    # -- neurons ------------------------------------------------------------------------------------------------------

    def fired(self, path: str, part: Any, given: list[Any], outputs: list[Any]) -> None:
        """Neurons were called."""
        call, whole = self.calls.get(path, 0), self.record.whole(part)
        self.calls[path] = call + 1
        if not self.known(given[0]):
            raise self.error("an input that does not come from the module's", "give it what layers send", path)
        x = self.of(given[0])
        if x.step != ALL if whole else x.step not in (None, call):
            when = {ALL: "all steps", OVER: "a sum over steps", None: "one step"}.get(x.step, f"step {x.step}")
            remedy = "give it all steps at once" if whole else "call it once in every step, with what belongs to it"
            raise self.error(f"{when} of '{' + '.join(x.nodes)}' in call {call}", remedy, path)
        for state in _tensors(given[1:]):  # neurons begin with zeros, and go on from what they returned
            value = self.of(state) if self.known(state) else None
            own = value is not None and value.nodes[0].partition(":")[0] == path and value.step == call - 1
            if not own and (value is not None or call > 0 or bool((state != 0).any())):
                raise self.error(f"a state in step {call} that is not what it returned in the step before, or zeros in "
                                 "the first", "give it that", path)  # fmt: skip
        if self.record.weights and (weights := getattr(part, self.record.weights, None)) is not None:
            x = self.weighted(x, weights)
        if call == 0:
            self.add(path, type(part).__name__, x.nodes, x.shape, {"module": part})
        elif (self.fed(path, x, call), self.shapes[path]) != (x.nodes, x.shape):
            raise self.error(f"the input '{' + '.join(x.nodes)}' in step {call}, '{' + '.join(self.into[path])}' in "
                             "step 0", "do the same in each step, with neurons for each layer", path)  # fmt: skip
        if call and x.late != self.back.setdefault(path, x.late):
            late = " + ".join(self.back[path])
            raise self.error(f"'{' + '.join(x.late)}' of the step before in step {call}, '{late}' in step 1",
                             "do the same in each step", path)  # fmt: skip
        for i, tensor in reversed([*enumerate(outputs)]):  # an integrator sends its state
            name = path if i == 0 else path + (_MEMBRANE if i == len(outputs) - 1 else f":{i}")
            self.put(tensor, Signal((name,), x.shape, ALL if whole else call))
        if self.record.own and (back := getattr(part, self.record.own, None)) is not None:
            sent = outputs[0]
            self.late[path] = (self.of(back(sent)) if callable(back) else self.weighted(self.of(sent), back)).nodes

    def fed(self, path: str, x: Signal, call: int) -> tuple[str, ...]:
        """What neurons got in the first step, without the bias that weights on zeros sent there: it comes in each step
        as a constant of what is sent now, and so no more from these weights."""
        first, weights = self.into[path], self.nodes.get(x.late[0]) if len(x.late) == 1 else None
        added = self.nodes.get(first[0]) if len(first) == 1 else None
        if weights is None or added is None or added.kind != "Scale" or self.into[first[0]] != x.nodes:
            return first
        own = self.constants.setdefault(path, np.ravel(weights.values.get("bias", 0)))
        if (added["scale"] != 1).any() or not np.array_equal(np.ravel(added["bias"]), own):
            return first
        self.nodes[x.late[0]] = NirNode("Linear", {"weight": weights["weight"]})
        return x.nodes

    def weighted(self, x: Signal, weights: Any) -> Signal:
        """``weights``: a tensor of the neurons' own."""
        return self.node("Linear", x, (len(weights),), weight=weights.detach().cpu().numpy())

    # -- the graph ----------------------------------------------------------------------------------------------------

    def traced(self) -> Traced:
        """Without what leads to no output."""
        result, warnings = self.results[0], []
        for path, late in self.back.items():
            self.late[path] = (*self.late.get(path, ()), *late)
        if not self.calls:
            raise self.error(f"no neurons of {self.record.title}: {', '.join(self.record.modules)}",
                             "choose the simulator whose neurons it has", "")  # fmt: skip
        for call, other in enumerate(self.results):
            if other.nodes != result.nodes:
                raise self.error(f"that it returns '{other.nodes[0]}' in step {call}, '{result.nodes[0]}' in step 0",
                                 "do the same in each step", "")  # fmt: skip
        looped = len(self.results) == 1
        if looped and result.step != ALL:
            warnings.append(f"{self.where} returns a sum, mean or single one of its steps; the network sends each step "
                            f"of '{result.nodes[0]}'")  # fmt: skip
        used, waiting = set(), list(result.nodes)
        while waiting:
            if (name := waiting.pop()) not in used:
                used.add(name)
                waiting += [*self.into[name.partition(":")[0]], *self.late.get(name.partition(":")[0], ())]
        membranes = frozenset(name.removesuffix(_MEMBRANE) for name in used if name.endswith(_MEMBRANE))
        for name in used:
            if name in membranes or ":" in name and not name.endswith(_MEMBRANE):
                raise self.error("that more of them is used than either spikes or membranes", "use one of these",
                                 name.partition(":")[0])  # fmt: skip
        used = {INPUT, *(name.partition(":")[0] for name in used)}
        nodes = {name: node for name, node in self.nodes.items() if name in used}
        edges = [(a.partition(":")[0], b, late) for late, into in ((False, self.into), (True, self.late))
                 for b in nodes for a in into.get(b, ())]  # fmt: skip
        way, x = self.called(looped)
        return Traced(nodes, edges, result.nodes[0].partition(":")[0], membranes, way, x, warnings, self.where)

    def called(self, looped: bool) -> tuple[str, Array]:
        """The way in which the module was called, and the sample as (steps, *shape)."""
        x = np.asarray(self.given.cpu().numpy())
        if self.values[id(self.given)][1].step != ALL:
            steps = self.repeated or max(self.calls.values())
            return ("constant" if looped else "state" if self.more else "steps"), np.repeat(x[:1], steps, axis=0)
        if self.record.imported != "flat":
            return "time", x[:, 0]
        return ("flat", x) if x.ndim == len(self.shapes[INPUT]) + 1 else ("batch", x[0])
