# SPDX-License-Identifier: Apache-2.0
"""Local learning: what a projection does with its weights after a step, by pairs of spikes (STDP).

Source and target leave a trace of each spike, which decays.  A spike of the source lowers its weights by the targets'
traces, a spike of the target raises them by the sources' traces: the order of operations is that of BindsNET's PostPre
(bindsnet/learning/learning.py, network/nodes.py).  Every operation here is one float32 operation; the runtime
(csrc/snn/learn.c) equals this bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import Array, Floats


@dataclass(frozen=True)
class Learning:
    """How the weights of a dense projection change.

    ``nu_pre``, ``nu_post``: what a spike of the source, of the target changes per unit of trace.  ``decay_pre``,
    ``decay_post``: factors of the traces in a step, 0 to 1 (exp(-dt / tau)).  ``added``: a spike adds 1 to its trace;
    otherwise it sets it to 1.  ``low``, ``high``: bounds of the weights, which may be infinite.  ``norm``: the sum of
    the magnitudes of a target's weights after :meth:`Plastic.normalize`; 0: they are left alone.
    """

    nu_pre: float
    nu_post: float
    decay_pre: float
    decay_post: float
    added: bool = False
    low: float = 0.0
    high: float = 1.0
    norm: float = 0.0

    @property
    def numbers(self) -> Floats:
        """The parameters as float32, in the order of the file."""
        numbers = [self.nu_pre, self.nu_post, self.decay_pre, self.decay_post, self.low, self.high, self.norm]
        with np.errstate(over="ignore"):  # what becomes infinite is refused, or a bound
            return np.array(numbers, np.float32)

    def problem(self) -> str:
        """What is wrong with its numbers, or ""."""
        nu_pre, nu_post, decay_pre, decay_post, low, high, norm = self.numbers
        if not np.isfinite([nu_pre, nu_post]).all():
            return f"found the rates {nu_pre} and {nu_post}, expected finite numbers"
        if not (0 <= decay_pre <= 1 and 0 <= decay_post <= 1):
            return f"found the decays {decay_pre} and {decay_post}, expected 0 to 1"
        if not low <= high:
            return f"found bounds from {low} to {high}, expected the lower one first"
        if not 0 <= norm < np.inf:
            return f"found the norm {norm}, expected 0 or a finite sum"
        return ""


class Plastic:
    """The weights of a projection that learns, (sources, targets), and its traces."""

    def __init__(self, rule: Learning, weights: Floats) -> None:
        self.rule = rule
        self.weights = weights.astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Traces as before the first step; the weights stay."""
        self.pre, self.post = (np.zeros(n, np.float32) for n in self.weights.shape)

    def step(self, source: Floats, target: Floats) -> None:
        """Learn from a step in which these spikes (n,) were sent, whatever the projection's delay."""
        r = self.rule
        nu_pre, nu_post, decay_pre, decay_post, low, high, _ = r.numbers
        self.pre = self._trace(self.pre, decay_pre, source != 0)
        self.post = self._trace(self.post, decay_post, target != 0)
        w = self.weights
        w[source != 0] -= self.post * nu_pre
        w[:, target != 0] += (self.pre * nu_post)[:, None]
        w = np.where(w < low, low, w)
        self.weights = np.where(w > high, high, w)

    def _trace(self, trace: Floats, decay: Floats, spikes: Array) -> Floats:
        trace = trace * decay
        return np.where(spikes, trace + np.float32(1) if self.rule.added else np.float32(1), trace)

    def normalize(self) -> None:
        """Scale each target's weights; magnitudes are summed from the lowest source to the highest."""
        if not self.rule.norm:
            return
        sums = np.zeros(self.weights.shape[1], np.float32)
        for row in np.abs(self.weights):
            sums = sums + row
        one = np.float32(1)  # PyTorch divides a number by a tensor so
        self.weights = self.weights * (one / np.where(sums == 0, one, sums) * np.float32(self.rule.norm))
