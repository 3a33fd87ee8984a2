# SPDX-License-Identifier: Apache-2.0
"""The importers of NIR files behind a common interface: load a graph, run spikes through it, tap every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._types import Array
from ..emit.nir.write import TIME_STEP
from ..snn.calling import quiet
from ..snn.simulators import Simulator


def load(simulator: Simulator, graph: Any, profile: str, stream: bool) -> ImportedNetwork:
    """Import a NIR graph of an image, quietly.  Raises whatever the importer raises."""
    with quiet():
        return ImportedNetwork(simulator.image(graph, profile, TIME_STEP), stream, simulator.time_axis)


class ImportedNetwork:
    """An imported network.  ``stream``: it keeps its state from one call to the next."""

    def __init__(self, module: Any, stream: bool, time_axis: bool) -> None:
        self.pristine = module.eval()
        self.stream = stream
        self.time_axis = time_axis
        self.module: Any = None
        self.state: Any = None
        self.size = 0

    def run(self, x: Array, names: Sequence[str]) -> dict[str, Array]:
        """Present spikes (N, ...) for one time step; returns the outputs of the named nodes.

        The step starts from the initial state; in a stream, it is the next step of N parallel images (the first again
        if N changes).
        """
        import torch

        if not self.stream or self.module is None or len(x) != self.size:
            # neurons may hold their own state
            self.module, self.state, self.size = copy.deepcopy(self.pristine), None, len(x)
        taps: dict[str, Array] = {}
        modules = dict(self.module.named_modules())
        hooks = []
        for name in names:
            if name not in modules:
                raise KeyError(f"the imported network has no module '{name}': the importer renamed or dropped the node")
            hooks.append(modules[name].register_forward_hook(_tap(taps, name, self.time_axis)))
        with torch.no_grad(), quiet():
            spikes = torch.from_numpy(np.ascontiguousarray(x[:, None] if self.time_axis else x, np.float32))
            result = self.module(spikes) if self.state is None else self.module(spikes, self.state)
        for hook in hooks:
            hook.remove()
        if self.stream and isinstance(result, tuple):
            self.state = result[1]
        missing = [name for name in names if name not in taps]
        if missing:
            raise KeyError(f"the imported network never ran node '{missing[0]}'")
        return taps


def _tap(taps: dict[str, Array], name: str, time_axis: bool) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        taps[name] = (value[:, 0] if time_axis else value).detach().cpu().numpy().copy()

    return hook
