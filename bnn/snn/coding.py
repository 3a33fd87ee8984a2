# SPDX-License-Identifier: Apache-2.0
"""What an input sends over time: an image at once, as current, rate code or latency code; a camera's events."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from .._arguments import check_choice, check_count, check_number
from .._types import Array, Floats
from ..errors import InputError
from ..runtime.arrays import as_numbers
from ..streams.grid import Recording, check_steps
from .rules import Emits

CODINGS = ("constant", "rate", "latency", "once")
#: The most steps for which an image may be shown.
MOST_STEPS = 1_000_000
#: Of an image that a converted network takes.
MOST_PIXEL = 255
#: What inputs of whole numbers send, and how an image is shown to them.
WHOLE = (Emits.COUNTS, Emits.CHANGES)
ONCE = "show whole numbers, in the first step alone (--scale 1 --coding once)"


def image_frames(image: Floats, coding: str, steps: int, seed: int, start: int, count: int) -> Array:
    """What ``image`` sends in the steps from ``start`` on, (count, *shape), of ``steps`` in all.

    constant: the image itself, in every step.  rate: a spike with the probability x in each step (Bernoulli; with many
    steps a Poisson process), from the bits of ``numpy.random.Philox``, so that any step can be drawn alone.  latency:
    one spike, the earlier the larger x is: in step round((1 - x) * (steps - 1)), counted from 0; none where x is 0.
    once: the image itself, in the first step, as converted networks take it.

    Raises InputError if a value of a rate or a latency is not within 0 and 1.
    """
    if coding == "constant":
        return np.broadcast_to(image, (count, *image.shape))
    if coding == "once":
        first = np.zeros((count, *image.shape), image.dtype)
        first[: start == 0] = image
        return first
    if coding == "latency":
        at = np.where(image > 0, np.rint((1 - image.astype(np.float64)) * (steps - 1)), -1)
        moments = np.arange(start, start + count).reshape(-1, *[1] * image.ndim)
        return np.asarray(at == moments)
    out = np.zeros((count, *image.shape), np.bool_)
    for k in range(count):
        out[k] = np.random.Generator(np.random.Philox(key=[seed, start + k])).random(image.shape) < image
    return out


def check_image(image: Floats, coding: str, emits: Emits, name: str, *, once: bool = False) -> None:
    """Raise InputError if an input cannot send an image in this code; ``once``: the network adds up what arrives."""
    check_choice(coding, "coding", CODINGS)
    sends = emits.name.lower()
    if coding == "constant" and (once or emits == Emits.CHANGES):
        raise InputError(
            f"input {name}: sends {sends}, which add up; coding 'constant' would add the image in every step: {ONCE}"
        )
    if once and image.max(initial=0) > MOST_PIXEL:
        raise InputError(f"input {name}: found {image.max():g}, expected pixels, whole numbers from 0 to {MOST_PIXEL}")
    if coding in ("constant", "once"):
        if emits != Emits.VALUES and not ((image == np.floor(image)) & (image >= 0)).all():
            remedy = "use coding 'rate' or 'latency', or compile the network for an input of values"
            raise InputError(
                f"input {name}: sends {sends} and takes whole numbers from 0 on; {ONCE if emits in WHOLE else remedy}"
            )
        return
    low, high = float(image.min(initial=0)), float(image.max(initial=0))
    if low < 0 or high > 1:
        remedy = "divide them (images of bytes: by 255)"
        if emits in WHOLE:
            remedy += f"; or, as input {name} sends {sends}, {ONCE}"
        raise InputError(f"coding {coding}: found values from {low:g} to {high:g}, expected 0 to 1; {remedy}")


def step_of(dt: object) -> Fraction:
    """Microseconds of a step of ``dt`` seconds, as the shortest decimal number that is this float32."""
    value = check_number(dt, "dt")
    if not value > 0:
        raise InputError(f"dt: found {value:g}, expected seconds of a step, more than 0")
    step = Fraction(np.format_float_scientific(np.float32(min(value, 1e9)))) * 10**6
    if not Fraction(1, 1000) <= step <= 10**12:
        raise InputError(f"dt: found {value:g} seconds, expected 1e-9 to 1e6")
    return step


def recording_steps(recording: Recording, step: Fraction) -> int:
    """Steps until the last event has arrived; raises InputError if they are too many."""
    if not len(recording.t):
        return 0
    steps = (int(recording.t[-1]) - int(recording.t[0])) // step + 1
    check_steps(recording, steps, f"{float(step):g} us")
    return steps


def recording_frames(
    recording: Recording, shape: tuple[int, ...], step: Fraction, emits: Emits, start: int, count: int
) -> tuple[Array, Array]:
    """(what the input sends, (count, *shape) with the channels last; events until the end of each step, (count,)).

    Step k is sent the events from k to k + 1 steps after the first event.  A network with one channel sees both
    polarities in it, one with two falling edges in channel 0 and rising ones in channel 1.  Counts and values are the
    number of events; a spike stands for one or more.
    """
    first = int(recording.t[0])
    ends = [first - (-k * step.numerator // step.denominator) for k in range(start, start + count + 1)]
    edges = np.searchsorted(recording.t, np.array(ends, np.int64))
    here = slice(int(edges[0]), int(edges[-1]))
    row = np.repeat(np.arange(count), np.diff(edges))
    channels = shape[-1] if len(shape) > 1 else 1
    channel = recording.polarity[here] if channels == 2 else 0
    size = int(np.prod(shape))
    target = row * size + recording.pixel[here] * channels + channel
    counts = np.bincount(target, minlength=count * size).reshape(count, *shape)
    return (counts > 0 if emits == Emits.SPIKES else counts.astype(np.float32)), edges[1:]


def blocks(steps: int, neurons: int) -> Iterator[tuple[int, int]]:
    """(start, count) of parts of a run whose recorded steps take little memory."""
    count = int(np.clip(2**24 // max(neurons, 1), 1, 1024))
    for start in range(0, steps, count):
        yield start, min(count, steps - start)


def check_seed(seed: object) -> int:
    return check_count(seed, "seed", 2**64 - 1, 0)


def as_image(x: object, shape: tuple[int, ...], name: str) -> Floats:
    """One image of the input's shape, float32 and finite."""
    array = as_numbers(x, f"input {name}")
    if array.shape == (1, *shape):
        array = array[0]
    if array.shape != shape:
        raise InputError(f"input {name}: found shape {array.shape}, expected one image {shape}")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return array.astype(np.float32, copy=False)
