# SPDX-License-Identifier: Apache-2.0
"""How inputs arrive: an image's elements in an order, a camera's events accumulated by a rule; in NumPy.

A recording is a structured array with fields x, y, p (or polarity), t in microseconds, as in `tonic`.  Every rule
gives one bit per pixel and channel at any time.  A network with one input channel sees both polarities in it; a network
with two sees falling edges (p = 0) in channel 0 and rising edges (p = 1) in channel 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import check_choice, check_count, check_number
from .._types import Array, Floats
from ..errors import InputError
from ..runtime.arrays import as_numbers
from ..runtime.summary import quantity
from ..streams.grid import Recording, check_steps

#: Each rule's parameters besides ``step``, with their defaults.
PARAMETERS: dict[str, dict[str, float]] = {
    "window": {"window": 10_000, "count": 1},
    "decay": {"tau": 10_000.0, "level": 0.5},
    "surface": {},
}
RULES = tuple(PARAMETERS)
"""How a recording's events become bits."""
_LONGEST = 2**40  # microseconds: twelve days

ORDERS = ("raster", "random", "brightest")
"""The orders in which the pixels of an image may arrive."""
_FINEST = 24  # the smallest step tried is 2**-24


def pixel_order(x: Floats, order: str, seed: int = 0, blank: float = 0.0) -> Array:
    """Indices (row-major) of the elements of ``x`` that differ from ``blank``, in the order in which they arrive.

    raster: row by row.  random: shuffled by ``seed``.  brightest: by falling value (latency coding: the stronger a
    pixel, the earlier its spike), equal values in raster order.
    """
    check_choice(order, "order", ORDERS)
    flat = as_numbers(x, "x").reshape(-1)
    index = np.flatnonzero(flat != np.float32(check_number(blank, "blank")))
    if order == "raster":
        return index
    if order == "random":
        return np.random.default_rng(check_count(seed, "seed", 2**64 - 1, 0)).permutation(index)
    return index[np.argsort(-flat[index], kind="stable")]


def bit_values(off: Any, on: Any) -> Floats:
    """The input's values for clear and for set bits."""
    values = np.array([check_number(off, "off"), check_number(on, "on")], np.float32)
    if values[0] == values[1]:
        raise InputError(f"on, off: found {on} and {off}, expected two different numbers")
    return values


def exact_step(x: Floats) -> float | None:
    """The largest power of two, at most 1, that divides all elements; None if there is no useful one."""
    for exponent in range(_FINEST + 1):
        scaled = x * np.float32(2.0**exponent)
        if np.array_equal(scaled, np.rint(scaled)):
            return float(2.0**-exponent)
    return None


@dataclass(frozen=True)
class Rule:
    """How events become bits, which are read every ``step`` microseconds.

    window: a bit is set while at least ``count`` events (1) of its pixel are in the last ``window`` microseconds
    (10,000, or a step if that is longer).
    decay: every event adds 1 to a trace that decays by exp(-t / ``tau``) (10,000); a bit is set while the trace is >=
    ``level`` (0.5).
    surface: the last event of the pixel decides.  One channel: set after a rising edge (p = 1), clear after a falling
    one.  Two channels: set in the channel of the last event's polarity.

    Raises InputError if a value is invalid, or belongs to another rule.
    """

    name: str = "window"
    step: int = 1000
    window: int | None = None
    count: int | None = None
    tau: float | None = None
    level: float | None = None

    def __post_init__(self) -> None:
        check_choice(self.name, "rule", RULES)
        check_count(self.step, "step", _LONGEST)
        for what in ("window", "count", "tau", "level"):
            self._settle(what, getattr(self, what))
        if self.window is not None and self.window < self.step:
            raise InputError(f"window: found {self.window} us, expected at least one step of {self.step} us")

    def _settle(self, what: str, value: Any) -> None:
        """Check a parameter, or set it to the rule's default."""
        default = PARAMETERS[self.name].get(what)
        if value is None:
            if what == "window" and default is not None:
                default = max(default, self.step)
            object.__setattr__(self, what, default)  # as frozen dataclasses do it
        elif default is None:
            takes = ", ".join(("step", *PARAMETERS[self.name]))
            raise InputError(f"{what}: found {value}, but rule {self.name} takes {takes}; leave it out")
        elif isinstance(default, int):
            check_count(value, what, _LONGEST)
        elif not check_number(value, what) > 0:
            raise InputError(f"{what}: found {value}, expected more than 0")

    def __str__(self) -> str:
        return {
            "window": f"a bit while the last {self.window or 0:,} us hold {quantity(self.count or 0, 'event')} or more",
            "decay": f"a bit while the trace (1 an event, decay time {self.tau or 0:g} us) is >= {self.level or 0:g}",
            "surface": "the polarity of the last event",
        }[self.name] + f", every {self.step:,} us"


def step_count(recording: Recording, rule: Rule) -> int:
    """The number of steps until a recording's last event has had its effect; raises InputError if too many."""
    t = recording.t
    if not len(t):
        return 0
    steps = (int(t[-1]) - int(t[0]) + (rule.window or 0)) // rule.step + 1
    check_steps(recording, steps, f"{rule.step:,} us")
    return steps


def frames(recording: Recording, shape: tuple[int, ...], rule: Rule) -> Iterator[tuple[int, int, Array]]:
    """(time, events so far, bool (H, W, C)) after every step, from the first event until the last has had its say."""
    channels = shape[2]
    pixels = shape[0] * shape[1]
    size = pixels * channels
    t = recording.t
    if not len(t):
        return
    # Where an event counts: its pixel, and its polarity's channel if there are two.
    target = recording.pixel * channels + (recording.polarity if channels == 2 else 0)
    start = int(t[0])
    steps = step_count(recording, rule)
    count, level = rule.count or 1, rule.level or 0.0  # each is used only by its own rule
    trace = np.zeros(size, np.float64)
    surface = np.zeros((pixels, channels), bool)
    done = 0
    for k in range(1, steps + 1):
        now = start + k * rule.step
        end = int(np.searchsorted(t, now))
        fresh = slice(done, end)
        if rule.window is not None:
            begin = int(np.searchsorted(t, now - rule.window))
            bits = np.bincount(target[begin:end], minlength=size) >= count
        elif rule.tau is not None:
            weights = np.exp((t[fresh] - now) / rule.tau)
            trace = trace * np.exp(-rule.step / rule.tau) + np.bincount(target[fresh], weights, minlength=size)
            bits = trace >= level
        else:
            polarity = recording.polarity[fresh][:, None]
            # The last of a pixel's events stays: assignment by an index array is defined that way.
            surface[recording.pixel[fresh]] = polarity > 0 if channels == 1 else np.arange(2) == polarity
            bits = surface
        done = end
        yield now, end, bits.reshape(shape).copy()
