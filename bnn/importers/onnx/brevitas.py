# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules with quantizers of Brevitas, exported to QONNX by Brevitas itself: a quantizer is one node."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .protos import from_model
from .qonnx import is_read


def export_quantizers(module: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """The module as an ``onnx.ModelProto``; ``options``: of ``torch.onnx.export``.  None if no part of it is Brevitas',
    or a quantizer is none that is read: PyTorch then exports the operators that it computes with.

    Raises:
        ImportError: onnxoptimizer is not installed, which Brevitas exports with.
    """
    if all(type(part).__module__.partition(".")[0] != "brevitas" for part in module.modules()):
        return None
    import onnxoptimizer  # noqa: F401
    from brevitas.export import export_qonnx

    # A copy: the handlers of an export that fails stay in the module.
    model = export_qonnx(copy.deepcopy(module), args=arguments, **options)
    read = (is_read(node.op, node.attrs) for node in from_model(model).nodes if node.custom)
    return model if all(read) else None
