# SPDX-License-Identifier: Apache-2.0
"""A run over time: what was sent, the outputs, and when the answer was right and final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .._arguments import check_count, check_text, shown
from .._text import printable
from .._types import Array, Floats
from ..errors import InputError, InputTypeError
from .report import CountReport

_LONGEST = 40  # characters of a name


@dataclass(frozen=True)
class Sent:
    """What the neurons of a layer sent, or what arrived (``arrives``).

    ``shape``: (h, w, c), (w, c) or (c,).  ``spikes``: (moments, neurons, signs) of each, if the run kept them; a sign
    above 0: one level up.  ``up`` and ``down``: how many at each moment except the first, if it counted them.
    ``signed``: neurons take spikes back.  ``levels``: how many a neuron has (of bits: 2); ``start``: each neuron's
    level at moment 0.
    """

    name: str
    shape: tuple[int, ...]
    spikes: tuple[Array, Array, Array] | None = None
    up: Array | None = None
    down: Array | None = None
    what: str = "spikes"
    signed: bool = True
    arrives: bool = False
    start: Array | None = None
    levels: int = 2


@dataclass(frozen=True)
class Display:
    """What a picture and a page show of a run.

    ``heading``: what ran.  ``axis`` of time, on which two moments are ``width`` and ``seconds`` apart (0: nobody said).
    ``layers``: what arrived and what was sent, each spike if the run kept them (``traced``).  ``image`` (H, W, C), the
    ``order`` in which it arrived (None: all of it, always), and the value ``blank`` before.
    """

    heading: str
    axis: str
    layers: list[Sent]
    traced: bool = False
    seconds: float = 0.0
    image: Floats | None = None
    order: Array | None = None
    blank: float = 0.0

    @property
    def width(self) -> float:
        """Milliseconds, or 1."""
        return float(f"{1000 * self.seconds:.9g}") or 1.0


@dataclass(frozen=True)
class Answering:
    """A run, with its answers at its moments: 0 is before anything arrived (a stream's first frame)."""

    outputs: Floats
    label: int | None
    report: CountReport
    pulses = True  # a spike is sent once; otherwise a neuron fires until it takes its spike back

    def view(self) -> Display:
        """What a picture and a page show."""
        raise NotImplementedError

    @property
    def remarks(self) -> list[str]:
        """What a reader must know."""
        left = [short(x.name) for x in self.report.layers if x.kind == "values"]
        if not left:
            return list(self.report.notes)
        names = ", ".join(left[:8]) + (" ..." if len(left) > 8 else "")
        return [*self.report.notes, f"not drawn: {names}, which send{'s' * (len(left) == 1)} real values"]

    @property
    def moments(self) -> int:
        """The last moment at which something arrived."""
        return len(self.outputs) - 1

    @property
    def scores(self) -> Floats:
        """(moments + 1, classes); of an output with pixels, the first pixel's."""
        return self.outputs.reshape(len(self.outputs), -1, self.outputs.shape[-1])[:, 0]

    @property
    def answers(self) -> Array:
        """The class with the highest score at every moment."""
        return np.asarray(np.argmax(self.scores, axis=-1))

    @property
    def answer(self) -> int:
        """The answer when everything has arrived."""
        return int(self.answers[self.moments])

    @property
    def first_correct(self) -> int | None:
        """The moment at which the answer was first right (0: from the start); None: never, or no label."""
        if self.label is None:
            return None
        right = np.flatnonzero(self.answers[: self.moments + 1] == self.label)
        return int(right[0]) if len(right) else None

    @property
    def final(self) -> int:
        """The moment from which the answer stayed the same until everything had arrived."""
        different = np.flatnonzero(self.answers[: self.moments] != self.answer)
        return int(different[-1]) + 1 if len(different) else 0

    def share(self, moment: int | None) -> float | None:
        """The moment as a share of all moments."""
        return None if moment is None else self.check_moment(moment) / max(self.moments, 1)

    def check_moment(self, moment: object) -> int:
        """Raises InputTypeError or InputError if it is not one of the moments."""
        return check_count(moment, "moment", max(self.moments, len(self.outputs) - 1), 0)

    def when(self, moment: int) -> str:
        """The moment in words."""
        raise NotImplementedError

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.describe()

    def answered(self, names: Sequence[str] | None = None) -> str:
        """answer 3; right is 5"""
        text = f"answer {class_name(self.answer, names)}"
        if self.label is None or self.answer == self.label:
            return text
        return f"{text}; right is {class_name(self.label, names)}"

    def verdict(self, names: Sequence[str] | None = None) -> str:
        """The answer, and when it was final and first right."""
        parts = [self.answered(names)]
        if self.answer >= 0:
            parts.append(f"final {self.when(self.final)}")
        if self.label is not None:
            first = self.first_correct
            parts.append("never right" if first is None else f"first right {self.when(first)}")
        return "; ".join(parts)

    def answers_as_dict(self) -> dict[str, object]:
        """The answers as types of JSON."""
        return {
            "label": self.label,
            "answer": self.answer,
            "first_correct": self.first_correct,
            "first_correct_share": self.share(self.first_correct),
            "final": self.final,
            "final_share": self.share(self.final),
            "answers": self.answers.tolist(),
            "outputs": self.scores.tolist(),
        }


def class_name(answer: int, names: Sequence[str] | None) -> str:
    """``answer``: below 0: none."""
    if answer < 0:
        return "none"
    return str(answer) if names is None else f"“{printable(given_name(answer, names))}”"


def given_name(answer: int, names: Sequence[str]) -> str:
    """The name of a class.  Raises InputTypeError or InputError if these are not names of all classes up to it."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputTypeError(f"names of classes: found {shown(names)}, expected a list of texts")
    if answer >= len(names):
        raise InputError(f"names of classes: found {len(names)}, expected one for each class, up to class {answer}")
    return check_text(names[answer], f"names of classes: number {answer}")


def as_picture(image: Floats) -> Floats:
    """(H, W, C); a vector is a row."""
    return image if image.ndim == 3 and image.shape[:2] != (1, 1) else image.reshape(1, -1, 1)


def short(text: str, longest: int = _LONGEST) -> str:
    """A name, or a text with names, on one line that has room.  What does not print is escaped: fonts have no glyph for
    it, and SVG files cannot hold it."""
    shown = printable(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


@dataclass(frozen=True, kw_only=True)
class Recorded(Answering):
    """A run on an event camera's recording.

    ``start``: the first event's time in microseconds; ``seen``: camera events until each moment after the first;
    ``events`` lie on the network's pixels, ``dropped`` outside.
    """

    start: int = 0
    seen: Array = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    events: int = 0
    dropped: int = 0

    def events_share(self, moment: int | None) -> float | None:
        """The share of the camera's events seen until then."""
        if moment is None:
            return None
        return (int(self.seen[moment - 1]) if self.check_moment(moment) else 0) / max(self.events, 1)

    def camera_display(self, heading: str, layers: list[Sent], seconds: float, traced: bool = False) -> Display:
        """What is shown, over milliseconds."""
        axis = f"milliseconds since the first event (a step is {1000 * seconds:.4g} ms)"
        return Display(heading, axis, layers, traced, seconds)

    def clock(self, moment: int) -> str:
        """The time since the first event, in words."""
        raise NotImplementedError

    def when(self, moment: int) -> str:
        """The moment in words."""
        if not self.check_moment(moment):
            return "before any event"
        share = f"{self.share(moment):.0%} of the time, {self.events_share(moment):.0%} of the events"
        return f"after {self.clock(moment)} ({share})"

    def answers_as_dict(self) -> dict[str, object]:
        """The answers as types of JSON."""
        return {
            "events": self.events,
            "dropped": self.dropped,
            **super().answers_as_dict(),
            "first_correct_events_share": self.events_share(self.first_correct),
            "final_events_share": self.events_share(self.final),
            "seen": self.seen.tolist(),
        }
