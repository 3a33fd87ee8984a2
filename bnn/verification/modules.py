# SPDX-License-Identifier: Apache-2.0
"""Torch modules of simulators over time: those that a simulator's importer makes of a NIR file, and those that a user
trained.  How each is called, and what its neurons send in every step."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._distribution import install_packages
from .._types import Array, Floats
from ..errors import BnnError, CompileError, InputError, InputTypeError, SetupError
from ..snn.exact_weights import quantize, quantize_bias
from ..snn.from_nir import check_options
from ..snn.simulators import SIMULATORS
from .simulators import quiet

_TORCH = ("torch", "nir", "nirtorch")

#: How a module is called, by its name; ``shape`` is that of the input.
WAYS = {
    "steps": "step by step, with (1, *shape)",
    "state": "step by step, with (1, *shape) and the state that it returned for the step before",
    "time": "once, with (steps, 1, *shape)",
    "batch": "once, with (1, steps, *shape)",
    "flat": "once, with (steps, *shape)",
}


def why_not(name: str) -> str:
    """Why a simulator cannot be used here, and what to install, or ""."""
    missing = []
    for package in (*_TORCH, name):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return f"not installed: {', '.join(missing)}; run: {install_packages(missing)}"
    try:
        with quiet():
            __import__(name)
    except ImportError as error:
        return _cannot_import(name, error)
    return ""


def _cannot_import(name: str, error: ImportError) -> str:
    """A simulator's own import that failed, and what to install."""
    package = (error.name or "").partition(".")[0]
    if package and package != name and isinstance(error, ModuleNotFoundError):
        return f"{name} needs the package {package}, which is not installed; run: {install_packages([package])}"
    return f"{name} cannot be imported ({error}); install it again: {install_packages([name])}"


# -- from a file ----------------------------------------------------------------------------------------------------


def import_file(name: str, path: str | os.PathLike[str], *, quantized: bool = False, **said: Any) -> Any:
    """The torch module that a simulator's own importer makes of a NIR file, its neurons as was said.

    ``quantized``: with weights and biases rounded.  ``said``: what the file does not say, as of ``bnn.snn.compile``.

    Raises:
        SetupError: the simulator, or a package that it needs, is not installed.
        CompileError: its importer fails on the file.
    """
    record, options = check_options(name, **said)
    reason = why_not(name)
    if reason:
        raise SetupError(f"{record.title}: {reason}")
    dt = {} if record.fixed_dt or "dt" not in options.said else {"dt": options.dt}
    try:
        import nir

        with quiet():
            graph = nir.read(path, type_check=False)
            _prepare(graph, quantized)
            module = record.over_time(graph, options, dt)
    except BnnError:
        raise
    except ImportError as error:
        raise SetupError(f"{record.title}: {_cannot_import(name, error)}") from None
    except Exception as error:  # of any kind: the importers do not check files
        text = (str(error).splitlines() or [""])[0][:200]
        raise CompileError(
            f"{path}: {record.title}'s importer fails on it ({type(error).__name__}: {text}), so the network cannot be "
            "compared with what it makes of the file"
        ) from error
    return module


def _prepare(graph: Any, quantized: bool) -> None:
    """Nodes of the package nir as importers expect them, in place: pools have numbers for rows and columns, where
    snnTorch's exporter writes one for both.  ``quantized``: weights and biases are rounded, in their own types."""
    for node in graph.nodes.values():
        if hasattr(node, "nodes"):
            _prepare(node, quantized)
        elif type(node).__name__ in ("AvgPool2d", "SumPool2d"):
            for name in ("kernel_size", "stride", "padding"):
                setattr(node, name, np.resize(np.asarray(getattr(node, name)), 2))
        elif hasattr(node, "weight") and quantized:
            weights = np.asarray(node.weight)
            single = weights.astype(np.float32)
            node.weight = quantize(single).astype(weights.dtype)
            if hasattr(node, "bias"):
                bias = np.asarray(node.bias)
                node.bias = quantize_bias(bias.astype(np.float32), single).astype(bias.dtype)


# -- calling ----------------------------------------------------------------------------------------------------------


def trained_way(name: str, module: Any, time_major: bool | None = None) -> str:
    """How a user's module is called: one of WAYS; ``time_major``: whether it takes all steps at once, None: found out.

    Raises:
        InputTypeError: it is not a torch module.
        SetupError: torch or the simulator is not installed.
    """
    record = SIMULATORS[name]
    if reason := why_not(name):
        raise SetupError(f"{record.title}: {reason}")
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputTypeError(f"module: found {type(module).__name__}, expected the trained torch.nn.Module")
    parts = list(module.modules())
    if record.imported == "flat":
        return "flat" if any(type(part).__name__.endswith("Squeeze") for part in parts) else "batch"
    more = len(_arguments(module)) > 1
    if record.time_major(parts, more) if time_major is None else time_major:
        return "time"
    return "state" if more and record.states else "steps"


def _arguments(module: Any) -> list[str]:
    """The positional arguments of its forward."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(module.forward).parameters.items() if p.kind in kinds]


def reset(name: str, module: Any) -> None:
    """A simulator's neurons that hold their own state forget it."""
    for part in module.modules():
        theirs = any(kind.__module__.partition(".")[0] == name for kind in type(part).__mro__)
        if theirs and callable(forget := getattr(part, SIMULATORS[name].forget, None)):
            forget()


@contextmanager
def _prepared(name: str, module: Any) -> Iterator[None]:
    """Dropout and batch norm as in evaluation, and neurons without a state; modes are put back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    reset(name, module)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        reset(name, module)


def run_module(
    name: str, module: Any, x: Floats, way: str, populations: Iterable[str]
) -> tuple[Floats, dict[str, tuple[Floats, Floats]]]:
    """What a module returns, (T, n) in NIR's order, and (currents, sent), each (T, n), of each population that is a
    part of it; ``x``: (T, *shape), one sample, from the first step on."""
    taps: dict[str, list[tuple[Array, Array]]] = {}
    parts = dict(module.named_modules())
    hooks = []
    for p in populations:
        # nirtorch's names have no points; snnTorch's exporter makes nodes 1.lif and 1.w_rec of a part 1.
        full = next((n for n in (p, p.replace(".", "_"), p.removesuffix(".lif")) if n and n in parts), None)
        if full is not None:
            hooks.append(parts[full].register_forward_hook(_tap(taps, p)))
    import torch

    try:
        with torch.no_grad(), quiet(), _prepared(name, module):
            returned = _called(name, module, torch.from_numpy(np.ascontiguousarray(x)), way)
    except BnnError:
        raise
    except ImportError as error:
        raise SetupError(f"{SIMULATORS[name].title}: {_cannot_import(name, error)}") from None
    except Exception as error:  # of any kind
        text = (str(error).splitlines() or [""])[0][:200]
        sizes = ", ".join(map(str, x.shape[1:]))
        raise InputError(
            f"{SIMULATORS[name].title}: {type(module).__name__}, called {WAYS[way].replace('*shape', sizes)}, fails "
            f"({type(error).__name__}: {text}); a module of your own can be called otherwise: time_major=True or False "
            "(--time-major), whether it takes all steps at once"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    steps = len(x)
    rows = {p: tuple(_rows([pair[k] for pair in values], steps) for k in (0, 1)) for p, values in taps.items()}
    output = _rows(returned, steps)
    if output is None:
        shapes = ", ".join(map(str, dict.fromkeys(tuple(part.shape) for part in returned)))
        raise InputError(
            f"module: called {WAYS[way]}, it returned the shape {shapes}, expected what the output sends in each of "
            f"{steps} steps; say time_major=True or False (--time-major), whether it takes all steps at once"
        )
    return output, {p: (a, b) for p, (a, b) in rows.items() if a is not None and b is not None}


def _rows(values: list[Array], steps: int) -> Floats | None:
    """(steps, n), if they are of as many steps."""
    whole = np.concatenate([np.asarray(value, np.float32).reshape(-1) for value in values])
    return whole.reshape(steps, -1) if len(values) in (1, steps) and whole.size and whole.size % steps == 0 else None


def _called(name: str, module: Any, x: Any, way: str) -> list[Array]:
    """What it returned, per call; of several things the first."""
    device = next((p.device for p in module.parameters()), x.device)
    x = x.to(device)
    if way in ("time", "batch", "flat"):
        given = {"time": x[:, None], "batch": x[None], "flat": x}[way]
        first = _first(module(given))
        return [_array(part) for part in first] if isinstance(first, list) else [_array(first)]
    more = len(_arguments(module)) - 1
    returned: list[Array] = []
    state: tuple[Any, ...] = (None,) * more if SIMULATORS[name].states == "each" else (None,)
    for step in x:
        result = module(step[None], *state) if way == "state" else module(step[None])
        if way == "state":
            state = _next_state(name, result, more)
        returned.append(_array(_first(result)))
    return returned


def _next_state(name: str, result: Any, more: int) -> tuple[Any, ...]:
    """The arguments after the first of the next call."""
    states = tuple(result[1:]) if isinstance(result, tuple) else ()
    each = SIMULATORS[name].states == "each"
    if not each or more == 1:
        states = states[:1]
    if len(states) != (more if each else 1):
        raise InputError(
            f"module: its forward takes {more} arguments after the input, and it returned {len(states)} things after "
            "what it sends; expected the state of the next step, in the same order"
        )
    return states


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def _array(value: Any) -> Array:
    if not hasattr(value, "detach"):
        raise InputTypeError(f"module: it returned {type(value).__name__}, expected tensors: what the output sends")
    return np.asarray(value.detach().cpu().numpy())


def _tap(taps: dict[str, list[tuple[Array, Array]]], name: str) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        sent = output[0] if isinstance(output, tuple) else output
        taps.setdefault(name, []).append((inputs[0].detach().cpu().numpy().copy(), sent.detach().cpu().numpy().copy()))

    return hook
