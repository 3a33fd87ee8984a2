"""What came of a run of the event engine: outputs over time, and when the answer was right and final."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._arrays import Floats
from ._events_report import Report
from ._events_rules import Rule

Array = np.ndarray[Any, Any]


def final_since(answers: Array) -> int:
    """The index from which on the answer stays what it is at the end."""
    different = np.flatnonzero(answers != answers[-1])
    return int(different[-1]) + 1 if len(different) else 0


@dataclass(frozen=True)
class ImageRun:
    """An image that arrived pixel by pixel.

    ``index`` (row-major) says which pixel came with each event; ``outputs`` (events + 1, classes) are the outputs
    before the first and after every event; ``spikes`` the trace (time: the number of the event), if one was asked for,
    of ``spike_count`` in all.
    """

    image: Floats
    index: Array
    order: str
    outputs: Floats
    label: int | None
    report: Report
    spikes: Array | None = field(repr=False)
    spike_count: int = 0

    @property
    def events(self) -> int:
        return len(self.index)

    @property
    def answers(self) -> Array:
        """The class with the highest output, before the first and after every event."""
        return np.asarray(np.argmax(self.outputs, axis=-1))

    @property
    def answer(self) -> int:
        return int(self.answers[-1])

    @property
    def first_correct(self) -> int | None:
        """Events until the answer was first right (0: it was from the start); None: never, or no label."""
        if self.label is None:
            return None
        right = np.flatnonzero(self.answers == self.label)
        return int(right[0]) if len(right) else None

    @property
    def final(self) -> int:
        """Events after which the answer did not change any more."""
        return final_since(self.answers)

    def share(self, events: int | None) -> float | None:
        """Of all events."""
        return None if events is None else events / max(self.events, 1)

    def as_dict(self) -> dict[str, object]:
        return {
            "order": self.order,
            "events": self.events,
            "label": self.label,
            "answer": self.answer,
            "first_correct": self.first_correct,
            "first_correct_share": self.share(self.first_correct),
            "final": self.final,
            "final_share": self.share(self.final),
            "report": self.report.as_dict(),
        }

    def __str__(self) -> str:
        final = f"final after {self.final} ({self.share(self.final):.0%})"
        text = f"{self.events} events ({self.order}): answer {self.answer}, {final}"
        if self.label is None:
            return text
        if self.first_correct is None:
            return f"{text}; never {self.label}, the right one"
        return f"{text}; first right after {self.first_correct} ({self.share(self.first_correct):.0%})"


@dataclass(frozen=True)
class StreamRun:
    """A stream of frames, without its first: arrays with one entry a frame.

    ``changed`` input elements, ``synops``, ``spikes`` emitted, ``events`` delivered, nanoseconds of the event engine
    and of the synchronous one (each as called from Python), ``outputs``; ``wrong``: frames whose output differs from
    the synchronous one's (if ``compared``).
    """

    changed: Array
    synops: Array
    spikes: Array
    events: Array
    nanoseconds: Array
    synchronous_nanoseconds: Array
    outputs: Floats
    wrong: int
    compared: bool
    report: Report

    @property
    def share(self) -> float:
        """Operations, of the synchronous engine's."""
        return self.report.share

    def as_dict(self) -> dict[str, object]:
        synchronous = float(np.median(self.synchronous_nanoseconds)) / 1000
        return {
            "frames": len(self.changed),
            "changed_per_frame": float(self.changed.mean()),
            "synops_per_frame": float(self.synops.mean()),
            "spikes_per_frame": float(self.spikes.mean()),
            "share": self.share,
            "microseconds": float(np.median(self.nanoseconds)) / 1000,
            "synchronous_microseconds": synchronous if self.compared else None,
            "wrong": self.wrong if self.compared else None,
            "report": self.report.as_dict(),
        }

    def __str__(self) -> str:
        frames = len(self.changed)
        text = (
            f"{frames} frames: per frame {self.changed.mean():.1f} changed input elements, {self.spikes.mean():.0f} "
            f"spikes; {self.synops.mean():,.0f} operations of {self.report.dense / frames:,.0f} ({self.share:.1%}); "
            f"{np.median(self.nanoseconds) / 1000:.1f} us"
        )
        if not self.compared:
            return text
        return (
            f"{text}, synchronous {np.median(self.synchronous_nanoseconds) / 1000:.1f} us (medians); "
            f"{self.wrong} frames differ"
        )


@dataclass(frozen=True)
class RecordingRun:
    """An event camera's recording: arrays with one entry a step of the rule.

    ``times`` in microseconds; ``seen``: camera events until then; ``changed``: input bits that changed; ``outputs``
    (steps + 1, classes), the first before anything arrived.  ``events`` were used, ``dropped`` lay outside.
    """

    rule: Rule
    times: Array
    seen: Array
    changed: Array
    outputs: Floats
    events: int
    dropped: int
    report: Report

    @property
    def answers(self) -> Array:
        return np.asarray(np.argmax(self.outputs, axis=-1))

    def as_dict(self) -> dict[str, object]:
        return {
            "rule": str(self.rule),
            "steps": len(self.times),
            "events": self.events,
            "dropped": self.dropped,
            "changed": int(self.changed.sum()),
            "answers": [int(a) for a in self.answers],
            "report": self.report.as_dict(),
        }

    def __str__(self) -> str:
        counts = np.bincount(self.answers[1:]) if len(self.times) else np.zeros(1, int)
        most = int(np.argmax(counts))
        return (
            f"{self.events:,} camera events ({self.dropped:,} outside), {self.rule}: {len(self.times)} steps, "
            f"{int(self.changed.sum()):,} input bits changed; most frequent answer {most} "
            f"({counts[most] / max(len(self.times), 1):.0%} of the steps)"
        )
