# SPDX-License-Identifier: Apache-2.0
"""Torch modules of simulators over time: how each is called, and what its neurons send in every step."""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from .._distribution import install_packages
from .._types import Array, Floats
from ..errors import BnnError, InputError, InputTypeError, SetupError
from .simulators import SIMULATORS

TORCH = ("torch", "nir", "nirtorch")

#: How a module is called, by its name; ``shape`` is that of the input.
WAYS = {
    "steps": "step by step, with (1, *shape)",
    "state": "step by step, with (1, *shape) and the state that it returned for the step before",
    "time": "once, with (steps, 1, *shape)",
    "batch": "once, with (1, steps, *shape)",
    "flat": "once, with (steps, *shape)",
    "constant": "once, with (1, *shape), the input of every step",
}


def why_not(name: str, packages: tuple[str, ...] = TORCH) -> str:
    """Why a simulator cannot be used here with these packages, and what to install, or ""."""
    missing = []
    for package in (*packages, name):
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
        return cannot_import(name, error)
    return ""


def cannot_import(name: str, error: ImportError) -> str:
    """A simulator's own import that failed, and what to install."""
    package = (error.name or "").partition(".")[0]
    if package and package != name and isinstance(error, ModuleNotFoundError):
        return f"{name} needs the package {package}, which is not installed; run: {install_packages([package])}"
    return f"{name} cannot be imported ({error}); install it again: {install_packages([name])}"


@contextmanager
def quiet() -> Any:
    """Suppress what importers print, log and warn about correct files."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


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
    more = len(arguments(module)) > 1
    if record.time_major(parts, more) if time_major is None else time_major:
        return "time"
    return "state" if more and record.states else "steps"


def arguments(module: Any) -> list[str]:
    """The positional arguments of its forward."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(module.forward).parameters.items() if p.kind in kinds]


def more_arguments(module: Any) -> int:
    """How many arguments its forward takes after the input, without those that have a value."""
    parameters = inspect.signature(module.forward).parameters
    return len([name for name in arguments(module)[1:] if parameters[name].default in (None, inspect.Parameter.empty)])


def reset(name: str, module: Any) -> None:
    """A simulator's neurons that hold their own state forget it."""
    for part in module.modules():
        theirs = any(kind.__module__.partition(".")[0] == name for kind in type(part).__mro__)
        if theirs and callable(forget := getattr(part, SIMULATORS[name].forget, None)):
            forget()


@contextmanager
def prepared(name: str, module: Any) -> Iterator[None]:
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
    name: str, module: Any, x: Floats, way: str, populations: Iterable[str], last: Container[str] = ()
) -> tuple[Floats | None, dict[str, tuple[Floats, Floats]]]:
    """What a module returns, (T, n) in NIR's order, or None if that is something else, and (currents, sent), each
    (T, n), of each population that is a part of it; ``x``: (T, *shape), one sample, from the first step on; ``last``:
    those that send what they return last."""
    taps: dict[str, list[tuple[Array, Array]]] = {}
    parts = dict(module.named_modules())
    hooks = []
    for p in populations:
        # nirtorch writes names without points; snnTorch's exporter writes a part 1 as the nodes 1.lif and 1.w_rec.
        full = next((n for n in (p, p.replace(".", "_"), p.removesuffix(".lif")) if n and n in parts), None)
        if full is not None:
            hooks.append(parts[full].register_forward_hook(_tap(taps, p, -1 if p in last else 0)))
    import torch

    try:
        with torch.no_grad(), quiet(), prepared(name, module):
            returned = _called(name, module, torch.from_numpy(np.ascontiguousarray(x)), way)
    except BnnError:
        raise
    except ImportError as error:
        raise SetupError(f"{SIMULATORS[name].title}: {cannot_import(name, error)}") from None
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
    return _rows(returned, steps), {p: (a, b) for p, (a, b) in rows.items() if a is not None and b is not None}


def _rows(values: list[Array], steps: int) -> Floats | None:
    """(steps, n), if they are of as many steps."""
    whole = np.concatenate([np.asarray(value, np.float32).reshape(-1) for value in values])
    return whole.reshape(steps, -1) if len(values) in (1, steps) and whole.size and whole.size % steps == 0 else None


def _called(name: str, module: Any, x: Any, way: str) -> list[Array]:
    """What it returned, per call; of several things the first."""
    device = next((p.device for p in module.parameters()), x.device)
    x = x.to(device)
    if way in ("time", "batch", "flat", "constant"):
        given = {"time": x[:, None], "batch": x[None], "flat": x, "constant": x[:1]}[way]
        first = _first(module(given))
        return [_array(part) for part in first] if isinstance(first, list) else [_array(first)]
    more = len(arguments(module)) - 1
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


def _tap(taps: dict[str, list[tuple[Array, Array]]], name: str, which: int) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        sent = output[which] if isinstance(output, tuple) else output
        taps.setdefault(name, []).append((inputs[0].detach().cpu().numpy().copy(), sent.detach().cpu().numpy().copy()))

    return hook
