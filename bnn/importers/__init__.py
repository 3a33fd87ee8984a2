# SPDX-License-Identifier: Apache-2.0
"""Readers of trained models: each opens its input as a :class:`SourceModel`.  Uses the IR, but no pass.

A new importer is a folder here with such a class, and a line in :func:`open_source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .._types import Array
from ..ir.graph import Graph


class SourceModel(Protocol):
    """A trained model as the compiler and ``verify`` see it: a graph, and the values of its tensors by name.

    ``framework`` is its name in messages, such as "Keras".  ``outputs`` are the names of its output tensors, in order.
    The ``origin`` of a graph's node is the name of the tensor with the same value.
    """

    framework: str
    input_names: Sequence[str]
    outputs: Sequence[str]

    def graph(self, input_dtype: str | Mapping[str, str] | None = None) -> Graph:
        """The SOURCE graph; ``input_dtype`` as for ``bnn.compile``."""
        ...

    def evaluate(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Run the model on arrays (N, *shape), op by op as the framework would; returns the wanted tensors by name.

        Raises KeyError with the name of a tensor that the model does not have.
        """
        ...

    def rounding_hint(self) -> str:
        """Why the framework may not round after every operation, and what to do about it; "" if it rounds after
        every one."""
        ...


def open_source(model: Any, *, unsafe: bool = False, input_shape: Sequence[int] | None = None) -> SourceModel:
    """Open a model in memory, or its path, with the importer for its kind; arguments as for ``bnn.compile``."""
    from .tensorflow.load import TensorFlowModel, freeze

    return TensorFlowModel(freeze(model, unsafe=unsafe, input_shape=input_shape))


def round_plainly() -> None:
    """Make every framework that is not imported yet round each operation separately, as ``verify`` expects."""
    from .tensorflow.load import without_onednn

    without_onednn()
