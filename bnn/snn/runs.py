# SPDX-License-Identifier: Apache-2.0
"""Results of runs: what was sent, outputs over time, and when the answer was right and final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .._types import Array, Floats
from ..runtime.summary import quantity
from ..streams.answers import Answering, Display, Recorded, Sent, as_picture, class_name
from .activity import ActivityReport, Counted, PopulationCounts, seconds

#: A spike of a traced run.  ``step`` counts from 1, as moments do; neurons by row, column, channel; ``sign`` -1: spikes
#: were taken back.
SPIKE = np.dtype([("step", "<u4"), ("population", "<u4"), ("neuron", "<u4"), ("sign", "<i4")])


@dataclass(frozen=True)
class Run:
    """One run of T steps.

    ``outputs`` and ``recorded`` by population: spikes are uint8 (T, *shape), counts and values float32, in the layout
    of the source.  ``membranes`` and ``currents``, float32, of the populations that were asked for.  ``samples``: N of
    a run of several, whose arrays are (T, N, *shape), and whose report counts all together; None: one.  ``so_far``:
    the first output sends sums so far (rule ``sum``), not what is to be summed.  ``taken``: the steps that each sample
    took, int64 (N,), or () of one: T, or fewer of a run until the first spike; from there on arrays are 0.
    ``counted``: what ``report`` is made of.
    """

    steps: int
    outputs: dict[str, Array]
    recorded: dict[str, Array]
    membranes: dict[str, Floats]
    currents: dict[str, Floats]
    counted: Counted = field(repr=False)
    taken: Array
    samples: int | None = None
    so_far: bool = False

    @cached_property
    def report(self) -> ActivityReport:
        """The counts of all samples together."""
        return self.counted.report()

    @property
    def layers(self) -> tuple[PopulationCounts, ...]:
        """What each population did."""
        return self.report.layers

    @property
    def output(self) -> Array:
        """That of the first output population."""
        return next(iter(self.outputs.values()))

    @property
    def scores(self) -> Floats:
        """The first output's sum over time, float32 (n,), or (N, n): the number of spikes of each class."""
        # Step by step, as a watched run adds them: NumPy would add a single class's values in another order.
        # The last of no steps is 0.
        sums = self.output if self.so_far else np.cumsum(self.output, axis=0, dtype=np.float32)
        last = sums[-1:].sum(axis=0)
        return np.asarray(last.reshape(-1) if self.samples is None else last.reshape(self.samples, -1))

    @property
    def answers(self) -> Array:
        """The class with the highest score, of equals the first, int64 (N,), or () of one; -1 if the first output sent
        nothing."""
        sent = self.output.any(axis=0).reshape(*self.taken.shape, -1).any(axis=-1)
        return np.where(sent, np.argmax(self.scores, axis=-1), -1)

    @property
    def synops(self) -> int:
        """Operations of all populations."""
        return self.report.synops

    @property
    def spikes(self) -> int:
        """Spikes that neurons sent; those of the input, and values, do not count."""
        return self.report.spikes

    def __str__(self) -> str:
        return str(self.report)


@dataclass(frozen=True)
class StepRun(Answering):
    """A run that was watched; a moment is a step, and 0 before the first.

    ``outputs`` (steps + 1, classes): the first output summed up to each moment, so spikes of each class so far.
    ``sent`` (steps, populations): how many neurons sent something in each step.  ``dt``: seconds of a step, 0 if nobody
    said.  ``what``: the input in words.  ``shapes``: (h, w, c), (w, c) or (c,) of each population.  ``spikes``: every
    spike (SPIKE), if a trace was asked for; ``image``: what came in every step, if it was an image of real values.

    The answer is the class with the most spikes so far (the largest sum; of equals, the first); none, -1, before the
    output sent anything.
    """

    report: ActivityReport
    sent: Array
    dt: float
    what: str
    shapes: tuple[tuple[int, ...], ...]
    spikes: Array | None = field(default=None, repr=False)
    image: Floats | None = field(default=None, repr=False)

    def view(self) -> Display:
        """What is shown: not an image that is the same in every step, nor real values between populations."""
        found = []
        for k, x in enumerate(self.report.layers):
            arrives = x.kind == "input"
            if x.kind == "values" or (arrives and self.image is not None):
                continue
            spikes, up = None, self.sent[:, k]
            if self.spikes is not None:
                own = self.spikes[self.spikes["population"] == k]
                spikes = (own["step"], own["neuron"], own["sign"]) if len(own) or not up.any() else None  # real values
            what = "sent" if arrives else "spikes"
            found.append(Sent(x.name, self.shapes[k], spikes, up, None, what, x.kind == "changes", arrives))
        axis = f"milliseconds (a step is {1000 * self.dt:.4g} ms)" if self.dt else "steps"
        image = None if self.image is None else as_picture(self.image)
        return Display(self.what, axis, found, self.spikes is not None, self.dt, image)

    @property
    def answers(self) -> Array:
        """The class with the highest score at every moment; -1 before anything was sent."""
        best = np.argmax(self.outputs, axis=-1)
        silent = ~np.logical_or.accumulate(self.outputs.any(axis=-1))
        return np.where(silent, -1, best)

    def time(self, moment: int | None) -> float | None:
        """Seconds until the moment; None: nobody said how long a step is."""
        return None if moment is None or not self.dt else self.check_moment(moment) * self.dt

    def when(self, moment: int) -> str:
        """The moment in words."""
        if not self.check_moment(moment):
            return "before the first step"
        after = f", {seconds(moment * self.dt)}" if self.dt else ""
        return f"after step {moment} of {self.moments} ({self.share(moment):.0%}{after})"

    def as_dict(self) -> dict[str, object]:
        """The run as types of JSON; an answer of -1 means that there is none."""
        return {
            "input": self.what,
            "steps": self.moments,
            **self.answers_as_dict(),
            "first_correct_seconds": self.time(self.first_correct),
            "final_seconds": self.time(self.final),
            "sent": {layer.name: self.sent[:, k].tolist() for k, layer in enumerate(self.report.layers)},
            "report": self.report.as_dict(),
        }

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        return f"{self.what}: {self.verdict(names)}"


@dataclass(frozen=True, kw_only=True)
class RecordingStepRun(Recorded, StepRun):
    """An event camera's recording, one step per ``step_seconds`` of it.

    ``start``: the first event's time in microseconds; ``seen`` (steps,): camera events until the end of each step;
    ``events`` lie on the network's pixels, ``dropped`` outside.  ``merged``: events that no spike stands for, because
    their pixel had one in the same step.
    """

    step_seconds: float = 0.0
    merged: int = 0

    def view(self) -> Display:
        """What is shown."""
        heading, steps = f"{self.events:,} camera events in {quantity(self.moments, 'step')}", super().view()
        return self.camera_display(heading, steps.layers, self.step_seconds, steps.traced)

    def time(self, moment: int | None) -> float | None:
        """Seconds of the recording."""
        return None if moment is None else self.check_moment(moment) * self.step_seconds

    def clock(self, moment: int) -> str:
        """The time since the first event, in words."""
        return seconds(moment * self.step_seconds)

    def as_dict(self) -> dict[str, object]:
        """The run as types of JSON; an answer of -1 means that there is none."""
        more = {"step_seconds": self.step_seconds, "start_us": self.start, "merged": self.merged}
        return {**super().as_dict(), **more}

    def describe(self, names: Sequence[str] | None = None) -> str:
        """The run in words; ``names``: of the classes."""
        merged = f", {self.merged:,} in a step with another of their pixel" if self.merged else ""
        return (
            f"{self.events:,} camera events ({self.dropped:,} outside{merged}): {quantity(self.moments, 'step')} of "
            f"{seconds(self.step_seconds)}\n{self.verdict(names)}"
        )


def samples_text(runs: Sequence[StepRun], names: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
    """(the header, a row per sample) of a table of several runs."""
    labelled = any(run.label is not None for run in runs)
    header = ["sample", "answer", *(["right"] if labelled else []), "final", *(["first right"] if labelled else []),
              "score", "next", "spikes", "SynOps"]  # fmt: skip
    rows = []
    for i, run in enumerate(runs):
        order = np.sort(run.outputs[-1])[::-1]
        right = [] if not labelled else ["" if run.label is None else class_name(run.label, names)]
        first = [] if not labelled else ["never" if run.first_correct is None else f"step {run.first_correct}"]
        final = f"step {run.final}" if run.answer >= 0 else "never"
        second = f"{order[1]:.6g}" if len(order) > 1 else ""
        rows.append([
            str(i), class_name(run.answer, names), *right, final, *first, f"{order[0]:.6g}", second,
            f"{run.report.spikes:,}", f"{run.report.synops:,}",
        ])  # fmt: skip
    return header, rows
