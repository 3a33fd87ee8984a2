# SPDX-License-Identifier: Apache-2.0
"""Outputs over time, and when the answer was right and final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._arguments import check_count, check_text, shown
from .._text import printable
from .._types import Array, Floats
from ..errors import InputError, InputTypeError


@dataclass(frozen=True)
class Answering:
    """The answers of a run, at its moments: 0 is before anything arrived (a stream's first frame)."""

    outputs: Floats
    label: int | None

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
