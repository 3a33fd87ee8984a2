# SPDX-License-Identifier: Apache-2.0
"""Local learning: what a projection does with its weights after a step.

By pairs of spikes (STDP): source and target leave a trace of each spike, which decays.  A spike of the source lowers
its weights by the targets' traces, a spike of the target raises them by the sources' traces: the order of operations is
that of BindsNET's PostPre (bindsnet/learning/learning.py, network/nodes.py).

By feedback: three factors, the trace of the source's spikes, how near the target was to its threshold, and a signal for
the target, which other populations compute: with e-prop's eligibility (Bellec et al. 2020, "A solution to the learning
dilemma for recurrent networks of spiking neurons", equations 3, 4 and 22) and errors that come back through fixed
random weights (Lillicrap et al. 2016, "Random synaptic feedback weights support error backpropagation for deep
learning").

Every operation here is one float32 operation; the runtime (csrc/snn/learn.c) equals this bit for bit.
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
            return f"found the rates {nu_pre:g} and {nu_post:g}, expected finite numbers"
        if not (0 <= decay_pre <= 1 and 0 <= decay_post <= 1):
            return f"found the decays {decay_pre:g} and {decay_post:g}, expected 0 to 1"
        if not 0 <= norm < np.inf:
            return f"found the norm {norm}, expected 0 or a finite sum"
        return _bounds_problem(low, high)


@dataclass(frozen=True)
class Feedback:
    """How a signal for each target changes the weights of a dense projection, in the order of e-prop.

    ``signal``: the number of the population that sends it, a value for each target: what should be sent minus what is,
    say, or such errors times fixed weights.  ``rate``: of learning.  ``decay``: factor of a source's trace in a step, 0
    to 1: that of the target's membrane.  ``width``: the distance from its threshold at which a membrane's
    pseudo-derivative has fallen from 1 to 0.  ``low``, ``high``: bounds of the weights, which may be infinite.
    """

    signal: int
    rate: float
    decay: float
    width: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    @property
    def numbers(self) -> Floats:
        """The parameters as float32, in the order of the file, which is that of STDP; the first and the last are 0."""
        with np.errstate(over="ignore"):
            return np.array([0, self.rate, self.decay, self.width, self.low, self.high, 0], np.float32)

    def problem(self) -> str:
        """What is wrong with its numbers, or ""."""
        _, rate, decay, width, low, high, _ = self.numbers
        if not np.isfinite(rate):
            return f"found the rate {rate}, expected a finite number"
        if not 0 <= decay <= 1:
            return f"found the decay {decay}, expected 0 to 1"
        if not 0 < width < np.inf:
            return f"found the width {width}, expected a finite number above 0"
        return _bounds_problem(low, high)

    def slope(self, membranes: Floats, threshold: Floats) -> Floats:
        """The pseudo-derivative of spikes, from 1 at the threshold to 0 at the distance ``width``."""
        one = np.float32(1)
        with np.errstate(over="ignore"):  # far away it is 0
            return np.maximum(one - np.abs(membranes - threshold) / self.numbers[3], np.float32(0))


def _bounds_problem(low: Floats, high: Floats) -> str:
    return "" if low <= high else f"found bounds from {low} to {high}, expected the lower one first"


class Plastic:
    """The weights of a projection that learns, (sources, targets), and its traces."""

    def __init__(self, rule: Learning | Feedback, weights: Floats) -> None:
        self.rule = rule
        self.weights = weights.astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Traces as before the first step; the weights stay."""
        self.pre, self.post = (np.zeros(n, np.float32) for n in self.weights.shape)

    def step(self, source: Floats, target: Floats) -> None:
        """Learn by pairs from a step in which these spikes (n,) were sent, whatever the projection's delay."""
        assert isinstance(self.rule, Learning)
        nu_pre, nu_post, decay_pre, decay_post, _, _, _ = self.rule.numbers
        self.pre = _trace(self.pre, decay_pre, source != 0, self.rule.added)
        self.post = _trace(self.post, decay_post, target != 0, self.rule.added)
        self.weights[source != 0] -= self.post * nu_pre
        self.weights[:, target != 0] += (self.pre * nu_post)[:, None]
        self._bound()

    def direct(self, arrived: Floats, slope: Floats, signal: Floats) -> None:
        """Learn by feedback from a step in which these spikes (sources,) arrived; the others are (targets,)."""
        _, rate, decay, *_ = self.rule.numbers
        self.pre = _trace(self.pre, decay, arrived != 0, added=True)
        with np.errstate(over="ignore", invalid="ignore"):
            traced, change = self.pre != 0, rate * (slope * signal)
            self.weights[traced] += self.pre[traced, None] * change
        self._bound()

    def _bound(self) -> None:
        low, high = self.rule.numbers[4:6]
        w = np.where(self.weights < low, low, self.weights)
        self.weights = np.where(w > high, high, w)

    def normalize(self) -> None:
        """Scale each target's weights; magnitudes are summed from the lowest source to the highest."""
        if isinstance(self.rule, Feedback) or not self.rule.norm:
            return
        sums = np.zeros(self.weights.shape[1], np.float32)
        for row in np.abs(self.weights):
            sums = sums + row
        one = np.float32(1)  # PyTorch divides a number by a tensor so
        self.weights = self.weights * (one / np.where(sums == 0, one, sums) * np.float32(self.rule.norm))


def _trace(trace: Floats, decay: Floats, spikes: Array, added: bool) -> Floats:
    trace = trace * decay
    return np.where(spikes, trace + np.float32(1) if added else np.float32(1), trace)
