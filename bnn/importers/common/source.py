# SPDX-License-Identifier: Apache-2.0
"""A source model: what the compiler and ``verify`` ask of every framework's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...ir.graph import Graph
from .inputs import InputDType


class SourceModel(ABC):
    """A trained model as the compiler and ``verify`` see it: a graph, and the values of its tensors by name.

    ``framework`` is its name in messages, such as "Keras".  ``outputs`` are the names of its output tensors, in order.
    ``metadata`` is what the model's file says of it, as texts.  The ``origin`` of a graph's node is the name of the
    tensor with the same value.
    """

    framework: str
    input_names: Sequence[str]
    outputs: Sequence[str]
    metadata: Mapping[str, str] = {}
    said: Sequence[str] = ()  # what its author may want to know of the whole

    @abstractmethod
    def graph(self, input_dtype: InputDType = None) -> Graph:
        """The SOURCE graph; ``input_dtype`` as for ``bnn.compile``."""

    def hints(self) -> Mapping[str, Sequence[str]]:
        """{layer: what its author may want to know}, once ``graph`` has been read."""
        return {}

    def evaluate(self, inputs: Sequence[Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Run the model on arrays (N, *shape), op by op as the framework would; returns the wanted tensors by name.

        Raises KeyError with the name of a tensor that the model does not have.
        """
        keep, found = {*wanted}, dict[str, Array]()
        for values in self._tensors(inputs, keep):
            found.update((name, np.asarray(value)) for name, value in values.items() if name in keep)
        if missing := sorted(keep - found.keys()):
            raise KeyError(missing[0])
        return found

    @abstractmethod
    def _tensors(self, inputs: Sequence[Array], wanted: Collection[str]) -> Iterator[Mapping[str, Any]]:
        """The values by name, a few at a time, as they are computed; the wanted ones among them."""

    def rounding_hint(self) -> str:
        """Why the framework may not round after every operation, and what to do about it; "" if it rounds after
        every one."""
        return ""
