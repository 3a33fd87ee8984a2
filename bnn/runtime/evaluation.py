# SPDX-License-Identifier: Apache-2.0
"""How often a network is right: its answers against the right classes, counted batch by batch."""

from __future__ import annotations

import collections.abc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import shown
from .._types import Array, Floats
from ..errors import InputError, InputTypeError
from .arrays import as_numbers
from .summary import quantity, table

_MOST_COLUMNS = 20  # classes of a table as text
_MOST_PAIRS = 10


@dataclass(frozen=True)
class Evaluation:
    """``confusion`` is int64 (classes, classes): images of the class of the row that were taken for that of the column.
    ``undecided`` images, whose scores are not numbers, are wrong and not in it.  ``in_top``: images whose class is
    among the ``top`` best.  ``labels``: the names of the classes, or None.  Printing it gives a text."""

    confusion: Array
    undecided: int
    top: int
    in_top: int
    labels: list[str] | None = None

    @property
    def images(self) -> int:
        """All that were looked at, the undecided ones too."""
        return int(self.confusion.sum()) + self.undecided

    @property
    def correct(self) -> int:
        """Images whose answer is the right class."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """0 to 1."""
        return self.correct / self.images

    @property
    def top_accuracy(self) -> float:
        """0 to 1: how often the right class is among the :attr:`top` best."""
        return self.in_top / self.images

    def name(self, number: int) -> str:
        """The name of a class, or its number."""
        return str(number) if self.labels is None else self.labels[number]

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as types of JSON."""
        return {
            "images": self.images, "correct": self.correct, "accuracy": self.accuracy, "top": self.top,
            "top_accuracy": self.top_accuracy, "undecided": self.undecided, "labels": self.labels,
            "confusion": self.confusion.tolist(),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"accuracy: {self.accuracy:.2%} ({self.correct:,} of {quantity(self.images, 'image')})"]
        if self.top < len(self.confusion):
            lines.append(f"among the best {self.top}: {self.top_accuracy:.2%}")
        if self.undecided:
            lines.append(f"scores that are not numbers: {quantity(self.undecided, 'image')}, counted as wrong")
        return "\n".join([*lines, "", self._confusion()])

    def _confusion(self) -> str:
        """The matrix, of few classes; of many, the pairs that were confused most often."""
        classes = len(self.confusion)
        if classes <= _MOST_COLUMNS:
            names = [self.name(i) for i in range(classes)]
            rows = [[name, *map(str, row)] for name, row in zip(names, self.confusion.tolist(), strict=True)]
            short = [name if len(name) <= 10 else f"{name[:9]}…" for name in names]
            return f"Right classes in rows, answers in columns\n\n{table(['', *short], rows, [''])}"
        wrong = self.confusion * (1 - np.eye(classes, dtype=np.int64))
        best = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
        pairs = [(int(k) // classes, int(k) % classes) for k in best if wrong.flat[k]]
        rows = [[self.name(i), self.name(j), str(wrong[i, j])] for i, j in pairs]
        header = ["class", "taken for", "images"]
        return f"What was confused most often\n\n{table(header, rows, header[:2])}" if rows else "Nothing was confused"


class Counter:
    """An evaluation in the making."""

    def __init__(self, classes: int, top: int, labels: list[str] | None) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self.top, self.labels = min(top, classes), labels
        self.undecided = self.in_top = 0

    def add(self, scores: Floats, targets: Array) -> Array:
        """Count a batch: scores (N, classes), right classes (N,).  Returns the answers, -1 for none."""
        decided = ~np.isnan(scores).any(axis=1)
        answers = np.where(decided, scores.argmax(axis=1), -1)
        np.add.at(self.confusion, (targets[decided], answers[decided]), 1)
        self.undecided += int(np.count_nonzero(~decided))
        own = scores[np.arange(len(scores)), targets][:, None]
        before = np.arange(scores.shape[1]) < targets[:, None]  # of equal scores the first is best
        better = ((scores > own) | ((scores == own) & before)).sum(axis=1)
        self.in_top += int(np.count_nonzero(decided & (better < self.top)))
        return answers

    def result(self) -> Evaluation:
        """Raises InputError if there was no image."""
        if not self.confusion.any() and not self.undecided:
            raise InputError("found no image, expected at least one")
        return Evaluation(self.confusion, self.undecided, self.top, self.in_top, self.labels)


def class_numbers(y: object, count: int, classes: int, what: str = "y") -> Array:
    """The right classes (count,), from whole numbers (count,) or (count, 1), or rows (count, classes) with a single 1.

    Raises InputTypeError or InputError if it is neither, or if there is no class of such a number.
    """
    found = as_numbers(y, what)
    if found.shape == (count, classes) and classes > 1:
        if not (np.count_nonzero(found, axis=1) == 1).all() or not (found.max(axis=1, initial=0) == 1).all():
            raise InputError(f"{what}: found shape {found.shape}, expected rows with one 1 and zeros, or whole numbers")
        return np.asarray(found.argmax(axis=1))
    if found.shape not in ((count,), (count, 1)):
        raise InputError(f"{what}: found shape {found.shape}, expected ({count},), a class for each image")
    numbers = found.reshape(count)
    wrong = ~((numbers >= 0) & (numbers < classes) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise InputError(f"{what}: found {numbers[wrong][0]!s}, expected whole numbers from 0 to {classes - 1}")
    return numbers.astype(np.int64)


def scores_of(results: Any, shapes: Sequence[tuple[int, ...]]) -> Floats:
    """The scores (N, classes) of the one output."""
    return np.asarray(results).reshape(-1, classes_of(shapes))


def class_count(shape: tuple[int, ...]) -> int:
    """The number of classes that an output of this shape scores; 0 if its numbers are not scores of classes."""
    most = max(shape, default=0)
    return most if math.prod(shape) == most else 0


def classes_of(shapes: Sequence[tuple[int, ...]]) -> int:
    """The number of classes of the one output with this shape of an image.

    Raises InputError if there are several outputs, or fewer than two classes."""
    if len(shapes) != 1:
        raise InputError(f"the model has {len(shapes)} outputs, expected one, of classes; count with model.predict(x)")
    count = class_count(shapes[0])
    if count < 2:
        hint = "of a sigmoid, compare model.predict(x) > 0.5 with the classes"
        raise InputError(f"the model's output is {shapes[0]}, expected the scores of two or more classes; {hint}")
    return count


def are_batches(x: object) -> bool:
    """Whether something gives batches one after the other: a generator, a tf.data.Dataset, a DataLoader of PyTorch."""
    plain = (collections.abc.Sequence, collections.abc.Set, Mapping)
    return hasattr(x, "__iter__") and not hasattr(x, "__array__") and not isinstance(x, plain)


def batches(x: object, steps: int | None) -> Iterator[Any]:
    """Yield at most ``steps`` of them; what the iterator raises is raised."""
    assert isinstance(x, Iterable)
    for number, batch in enumerate(x):
        if number == steps:
            return
        yield batch


def pair(batch: Any) -> tuple[Any, Any]:
    """(images, classes) of a batch."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        found = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else shown(batch)
        raise InputTypeError(f"batch: found {found}, expected (x, y): images and their classes")
    return batch[0], batch[1]
