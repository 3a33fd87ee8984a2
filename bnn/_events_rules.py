"""From a camera's events to the network's input: the rules of accumulation, each stated, in NumPy.

A recording is a structured array with fields x, y, p (or polarity), t in microseconds, as `tonic` has it.  Every rule
gives one bit per pixel and channel at any time; a network with one input channel sees both polarities in it, one with
two sees falling edges (p = 0) in channel 0 and rising ones (p = 1) in channel 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError, InputTypeError
from .event_sources import FIELDS

Array = np.ndarray[Any, Any]
RULES = ("window", "decay", "surface")


@dataclass(frozen=True)
class Rule:
    """How events become bits, looked at every ``step`` microseconds.

    window: a bit is set while at least ``count`` events of its pixel lie in the last ``window`` microseconds.
    decay: every event adds 1 to a trace that falls by exp(-t / ``tau``); a bit is set while the trace is >= ``level``.
    surface: the last event of the pixel decides.  One channel: set after a rising edge (p = 1), clear after a falling
    one.  Two channels: set in the channel of the last event's polarity.
    """

    name: str = "window"
    step: int = 1000
    window: int = 10000
    count: int = 1
    tau: float = 10000.0
    level: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"rule: found {self.name!r}, expected one of {', '.join(RULES)}")
        for what in ("step", "window", "count", "tau", "level"):
            value = getattr(self, what)
            if not value > 0:
                raise InputError(f"{what}: found {value}, expected more than 0")
        if self.name == "window" and self.window < self.step:
            raise InputError(f"window: found {self.window} us, expected at least one step of {self.step} us")

    def __str__(self) -> str:
        return {
            "window": f"a bit while at least {self.count} events lie in the last {self.window} us",
            "decay": f"a bit while the trace (1 an event, decay time {self.tau:g} us) is >= {self.level:g}",
            "surface": "the polarity of the last event",
        }[self.name] + f", every {self.step} us"


@dataclass(frozen=True)
class Recording:
    """Events on the network's own pixel grid, in order of time; ``dropped`` lay outside of it."""

    pixel: Array
    polarity: Array
    t: Array
    dropped: int


def place(events: Any, shape: tuple[int, ...], origin: tuple[int, int], shrink: int) -> Recording:
    """Check a structured array and move it onto a network's (H, W, C): ((y, x) - origin) // shrink.

    Raises:
        InputTypeError: no structured array with x, y, p (or polarity) and t (or timestamp).
        InputError: the network has not one or two input channels; times fall; ``shrink`` is below 1; no event
            is inside.
    """
    if len(shape) != 3 or shape[2] not in (1, 2):
        raise InputError(f"a camera's events need an input (H, W, 1) or (H, W, 2), the network's is {shape}")
    if shrink < 1:
        raise InputError(f"shrink: found {shrink}, expected 1 or more")
    names = getattr(getattr(events, "dtype", None), "names", None)
    if names is None:
        found = getattr(events, "dtype", type(events).__name__)
        raise InputTypeError(f"events: found {found}, expected a structured array with fields x, y, p, t")
    fields = []
    for choices in FIELDS:
        name = next((c for c in choices if c in names), None)
        if name is None:
            found = ", ".join(names)
            raise InputTypeError(f"events: found fields {found}, expected x, y, p, t; '{choices[0]}' is missing")
        fields.append(events[name].astype(np.int64))
    x, y, p, t = fields
    if len(t) and np.any(np.diff(t) < 0):
        where = int(np.flatnonzero(np.diff(t) < 0)[0]) + 1
        raise InputError(f"events: time falls at event {where} ({t[where - 1]} to {t[where]}); sort them by t")
    height, width, channels = shape
    row, column = (y - origin[0]) // shrink, (x - origin[1]) // shrink
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if len(t) and not inside.any():
        raise InputError(
            f"none of the {len(t):,} events lies on the network's {height} x {width} pixels: x is {x.min()} to "
            f"{x.max()}, y {y.min()} to {y.max()}; move them there by origin and shrink"
        )
    pixel = (row * width + column)[inside]
    rising = (p > 0)[inside]
    return Recording(pixel, rising.astype(np.int64), t[inside], int(np.count_nonzero(~inside)))


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
    tail = rule.window if rule.name == "window" else 0
    steps = (int(t[-1]) - start + tail) // rule.step + 1
    trace = np.zeros(size, np.float64)
    surface = np.zeros((pixels, channels), bool)
    done = 0
    for k in range(1, steps + 1):
        now = start + k * rule.step
        end = int(np.searchsorted(t, now))
        fresh = slice(done, end)
        if rule.name == "window":
            begin = int(np.searchsorted(t, now - rule.window))
            bits = np.bincount(target[begin:end], minlength=size) >= rule.count
        elif rule.name == "decay":
            weights = np.exp((t[fresh] - now) / rule.tau)
            trace = trace * np.exp(-rule.step / rule.tau) + np.bincount(target[fresh], weights, minlength=size)
            bits = trace >= rule.level
        else:
            polarity = recording.polarity[fresh][:, None]
            # Of a pixel's several events the last stays: so assignment by an index array is defined.
            surface[recording.pixel[fresh]] = polarity > 0 if channels == 1 else np.arange(2) == polarity
            bits = surface
        done = end
        yield now, end, bits.reshape(shape).copy()
