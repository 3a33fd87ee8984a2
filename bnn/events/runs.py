# SPDX-License-Identifier: Apache-2.0
"""Results of the event engine: outputs over time, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .._types import Array, Floats
from ..streams.answers import Answering, Display, Recorded, Sent, as_picture, class_name
from .counts import SPIKING, EventReport
from .rules import Rule


@dataclass(frozen=True)
class EventRun(Answering):
    """A run of the event engine."""

    report: EventReport
    pulses = False

    @property
    def remarks(self) -> list[str]:
        """How the encoder ran, and the report's notes."""
        return [f"encoder: {self.report.encoder}", *self.report.notes]


@dataclass(frozen=True, kw_only=True)
class CountedRun(EventRun):
    """A run over time.  Arrays have an entry per moment except the first: ``changed`` input elements; ``up`` and
    ``down`` (moments, layers): spikes that left each layer."""

    changed: Array
    up: Array
    down: Array

    def _counts(self) -> list[Sent]:
        changes = Sent("input", (), up=self.changed, what="changes", arrives=True)
        layers = [(k, x) for k, x in enumerate(self.report.layers) if x.kind in SPIKING]
        return [changes, *(Sent(x.name, (), up=self.up[:, k], down=self.down[:, k]) for k, x in layers)]


@dataclass(frozen=True)
class ImageRun(EventRun):
    """An image that arrived pixel by pixel; a moment is an event.

    ``index`` (row-major) says which element came with each event; ``outputs`` (events + 1, classes) are the outputs
    before the first and after every event; ``blank``: the input's value before anything arrived.  If a trace was asked
    for, ``spikes`` is the whole (time: the number of the event), and ``start`` has the levels before it, of the layers
    whose neurons are drawn.
    """

    image: Floats
    index: Array
    order: str
    blank: float = 0.0
    spikes: Array | None = field(default=None, repr=False)
    start: tuple[Array, ...] = field(default=(), repr=False)

    def view(self) -> Display:
        """What is shown, if it kept its spikes."""
        found = []
        for x, start in zip((x for x in self.report.layers if x.kind in SPIKING), self.start, strict=False):
            assert self.spikes is not None
            own = self.spikes[self.spikes["tensor"] == x.tensor]
            spikes = own["time"], own["neuron"], own["sign"]
            found.append(Sent(x.name, start.shape, spikes, start=start, levels=x.levels))
        heading, axis = (
            f"{self.events} {self.unit}s arrive, {self.order} order",
            f"events ({self.unit}s that have arrived)",
        )
        traced, image = self.spikes is not None, as_picture(self.image)
        return Display(heading, axis, found, traced, image=image, order=self.index, blank=self.blank)

    @property
    def events(self) -> int:
        """How many arrived."""
        return len(self.index)

    @property
    def unit(self) -> str:
        """The unit that arrives: a pixel, or, if the input is not a grey image, an input value."""
        return "pixel" if self.image.ndim == 3 and self.image.shape[2] == 1 else "input value"

    def when(self, moment: int) -> str:
        """The moment in words."""
        return f"after {moment} ({self.share(moment):.0%})" if self.check_moment(moment) else "before any event"

    def as_dict(self) -> dict[str, object]:
        """The run as types of JSON."""
        return {
            "order": self.order,
            "events": self.events,
            **self.answers_as_dict(),
            "index": self.index.tolist(),
            "report": self.report.as_dict(),
        }

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        return f"{self.events} events ({self.order}): {self.verdict(names)}"


@dataclass(frozen=True, kw_only=True)
class StreamRun(CountedRun):
    """A stream of frames; a moment is a frame, and 0 the first.

    ``outputs`` (frames, ...).  The other arrays have an entry per frame except the first, on which the engine was at
    rest: ``changed`` input elements, ``synops``, ``up`` and ``down`` (frames - 1, layers), spikes that left each layer,
    ``events`` delivered, nanoseconds of the event engine and of the synchronous one (each as called from Python);
    ``wrong``: frames whose output differs from the synchronous one's (if ``compared``).
    """

    synops: Array
    events: Array
    nanoseconds: Array
    synchronous_nanoseconds: Array
    wrong: int
    compared: bool

    def view(self) -> Display:
        """What is shown."""
        return Display(f"{len(self.changed)} frames after the first", "frames", self._counts())

    @property
    def spikes(self) -> Array:
        """The spikes per frame."""
        return np.asarray((self.up + self.down).sum(axis=1))

    def when(self, moment: int) -> str:
        """The moment in words."""
        return (
            f"at frame {moment} of {self.moments} ({self.share(moment):.0%})"
            if self.check_moment(moment)
            else "at the first frame"
        )

    def as_dict(self) -> dict[str, object]:
        """The run as types of JSON."""
        synchronous = float(np.median(self.synchronous_nanoseconds)) / 1000
        return {
            "frames": len(self.changed),
            **self.answers_as_dict(),
            "changed_per_frame": float(self.changed.mean()),
            "synops_per_frame": float(self.synops.mean()),
            "spikes_per_frame": float(self.spikes.mean()),
            "share": self.report.share,
            "microseconds": float(np.median(self.nanoseconds)) / 1000,
            "synchronous_microseconds": synchronous if self.compared else None,
            "wrong": self.wrong if self.compared else None,
            "report": self.report.as_dict(),
        }

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        frames = len(self.changed)
        text = (
            f"{frames} frames after the first: {self.verdict(names)}\n"
            f"per frame {self.changed.mean():.1f} changed input elements, {self.spikes.mean():,.0f} spikes; "
            f"{self.synops.mean():,.0f} operations of {self.report.dense / frames:,.0f} ({self.report.share:.1%}); "
            f"{np.median(self.nanoseconds) / 1000:.1f} us"
        )
        if not self.compared:
            return text
        return (
            f"{text}, synchronous {np.median(self.synchronous_nanoseconds) / 1000:.1f} us (medians); "
            f"{self.wrong} frames differ"
        )


@dataclass(frozen=True, kw_only=True)
class RecordingRun(Recorded, CountedRun):
    """An event camera's recording; a moment is a step of the rule, and 0 before anything arrived.

    ``outputs`` (steps + 1, classes).  The other arrays have an entry per step: ``times`` in microseconds; ``seen``:
    camera events until then; ``changed``: input bits that changed; ``up`` and ``down`` (steps, layers): spikes that
    left each layer.  ``start`` is the first event's time; ``events`` were used, ``dropped`` were outside.

    The answer is that of the step that saw the last event: the emptying of a window is not an answer.
    """

    rule: Rule
    times: Array

    def view(self) -> Display:
        """What is shown."""
        return self.camera_display(f"{self.events:,} camera events", self._counts(), self.rule.step / 1e6)

    @property
    def moments(self) -> int:
        """The step that saw the last event."""
        return int(np.searchsorted(self.seen, self.events)) + 1 if self.events else 0

    def time(self, moment: int | None) -> int | None:
        """Microseconds since the first event."""
        return None if moment is None else self.check_moment(moment) * self.rule.step

    def clock(self, moment: int) -> str:
        """Microseconds."""
        return f"{self.time(moment):,} us"

    def as_dict(self) -> dict[str, object]:
        """The run as types of JSON."""
        return {
            "rule": str(self.rule),
            "steps": len(self.times),
            "changed": int(self.changed.sum()),
            **self.answers_as_dict(),
            "first_correct_us": self.time(self.first_correct),
            "final_us": self.time(self.final),
            "most_frequent_answer": self.most_frequent[0],
            "times_us": [self.start, *self.times.tolist()],
            "seen": [0, *self.seen.tolist()],
            "report": self.report.as_dict(),
        }

    @property
    def most_frequent(self) -> tuple[int, int]:
        """(an answer, at how many steps)"""
        counts = np.bincount(self.answers[1:], minlength=1)
        return int(np.argmax(counts)), int(counts.max())

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        steps = len(self.times)
        most, count = self.most_frequent
        return (
            f"{self.events:,} camera events ({self.dropped:,} outside), {self.rule}: {steps} steps, "
            f"{int(self.changed.sum()):,} input bits changed\n"
            f"{self.verdict(names)}; most frequent answer {class_name(most, names)} "
            f"({count / max(steps, 1):.0%} of the steps)"
        )
