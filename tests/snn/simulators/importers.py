# SPDX-License-Identifier: Apache-2.0
"""The simulators' own importers, run step by step with what every node sends."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnn._types import Array, Floats
from bnn.snn.network import Network
from bnn.snn.oracle import Oracle

PACKAGES = {"norse": "norse", "snntorch": "snntorch", "spikingjelly": "spikingjelly", "sinabs": "sinabs"}


def why_not(name: str) -> str:
    """Why a simulator cannot be used here, or ""."""
    for package in ("nir", "nirtorch", "torch", PACKAGES[name]):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return f"not installed: {package}"
    try:
        with quiet():
            __import__(PACKAGES[name])
    except ImportError as error:
        return f"{name} cannot be imported ({error})"
    return ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def imported(name: str, path: Path, dt: float | None, reset_method: str = "value") -> Any:
    """The module that a simulator's importer makes of a file."""
    import nir

    graph = nir.read(path, type_check=False)
    step = {} if dt is None else {"dt": dt}
    with quiet():
        if name == "norse":
            import norse.torch.functional.reset as reset
            from norse.torch.utils.import_nir import from_nir

            return from_nir(graph, reset_method=getattr(reset, f"reset_{reset_method}"), **step)
        if name == "snntorch":
            from snntorch.import_nir import import_from_nir

            return import_from_nir(graph)
        if name == "spikingjelly":
            from spikingjelly.activation_based.nir_exchange import import_from_nir as import_spikingjelly

            return import_spikingjelly(graph, **step)
        from sinabs.nir import from_nir as import_sinabs

        return import_sinabs(graph, batch_size=1)


def run(name: str, module: Any, x: Floats, populations: Iterable[str]) -> dict[str, Floats]:
    """(T, n) by the name of each population that a node of the file is, in NIR's order; ``x``: (T, ...), one sample."""
    import torch

    sent: dict[str, list[Array]] = {}
    parts = dict(module.named_modules())
    names = {p: p if p in parts else p.replace(".", "_") for p in populations if not p.endswith(".sum")}
    hooks = [parts[full].register_forward_hook(_tap(sent, p)) for p, full in names.items()]
    state = None
    with torch.no_grad(), quiet():
        if name == "sinabs":  # all steps at once
            module(torch.from_numpy(x))
        else:
            for step in x:
                result = module(torch.from_numpy(step[None]), state)
                state = result[1]
    for hook in hooks:
        hook.remove()
    return {full: np.concatenate([v.reshape(len(x) if name == "sinabs" else 1, -1) for v in values])
            for full, values in sent.items()}  # fmt: skip


def _tap(sent: dict[str, list[Array]], name: str) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        sent.setdefault(name, []).append(value.detach().numpy().copy())

    return hook


def oracle(network: Network, x: Floats) -> dict[str, Floats]:
    """(T, n) by the name of each population, in NIR's order: channels first."""
    shape = network.populations[network.inputs[0]].shape
    moved = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    assert moved.shape[1:] == shape
    record = Oracle(network).run([moved.reshape(len(x), -1)])
    return {
        p.name: np.moveaxis(record.sent[i].reshape(len(x), *p.shape), -1, 1).reshape(len(x), -1)
        for i, p in enumerate(network.populations)
        if p.dynamics is not None
    }


def differences(ours: dict[str, Floats], theirs: dict[str, Floats]) -> dict[str, int]:
    """The number of values that differ, by population."""
    found = {}
    for name, other in theirs.items():
        assert other.shape == ours[name].shape, name
        found[name] = int(np.count_nonzero(other != ours[name]))
    return found
