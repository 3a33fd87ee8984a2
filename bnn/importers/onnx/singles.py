# SPDX-License-Identifier: Apache-2.0
"""Models of other floats than float32, read as models of float32, which is what is computed with here."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._types import Array

_TYPE_ATTRIBUTES = frozenset({"dtype", "to"})


class Singles:
    """Halves become float32 wherever they are; doubles only in a model that takes doubles, for others have them in the
    arithmetic of shapes.  ``found``: the names of the types that were replaced."""

    def __init__(self, onnx: Any, inputs: Any) -> None:
        self._onnx, types = onnx, onnx.TensorProto
        self._names = {types.FLOAT16: "float16", types.BFLOAT16: "bfloat16"}
        if any(i.type.tensor_type.elem_type == types.DOUBLE for i in inputs):
            self._names[types.DOUBLE] = "float64"
        self.found: set[str] = set()

    def element(self, kind: int) -> int:
        """The number of an element type, which is float32's if it is replaced."""
        if kind not in self._names:
            return kind
        self.found.add(self._names[kind])
        return int(self._onnx.TensorProto.FLOAT)

    def array(self, value: Array, kind: int) -> Array:
        """A constant, stored as elements of this type."""
        return value if self.element(kind) == kind else value.astype(np.float32)

    def node(self, proto: Any) -> Any:
        """A node that makes such elements, as one that makes float32; any other is returned itself."""
        if not any(self._replaces(a) for a in proto.attribute):
            return proto
        changed = type(proto)()
        changed.CopyFrom(proto)
        for a in filter(self._replaces, changed.attribute):
            if a.type == a.INT:
                a.i = self.element(a.i)
            else:
                helper = self._onnx.numpy_helper
                a.t.CopyFrom(helper.from_array(self.array(helper.to_array(a.t), a.t.data_type), a.t.name))
        return changed

    def _replaces(self, a: Any) -> bool:
        if a.type == a.TENSOR:
            return a.t.data_type in self._names and a.t.data_location != a.t.EXTERNAL
        return a.type == a.INT and a.name in _TYPE_ATTRIBUTES and a.i in self._names
