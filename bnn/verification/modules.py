# SPDX-License-Identifier: Apache-2.0
"""The torch modules that a simulator's importer makes of a NIR file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import BnnError, CompileError, SetupError
from ..snn.calling import cannot_import, quiet, why_not
from ..snn.exact_weights import quantize, quantize_bias
from ..snn.from_nir import check_options


def import_file(name: str, path: str | os.PathLike[str], *, quantized: bool = False, **said: Any) -> Any:
    """The torch module that a simulator's own importer makes of a NIR file, its neurons as was said.

    ``quantized``: with weights and biases rounded.  ``said``: what the file does not say, as of ``bnn.snn.compile``.

    Raises:
        SetupError: the simulator, or a package that it needs, is not installed.
        CompileError: its importer fails on the file.
    """
    record, options = check_options(name, **said)
    reason = why_not(name)
    if reason:
        raise SetupError(f"{record.title}: {reason}")
    dt = {} if record.fixed_dt or "dt" not in options.said else {"dt": options.dt}
    try:
        import nir

        with quiet():
            graph = nir.read(path, type_check=False)
            _prepare(graph, quantized)
            module = record.over_time(graph, options, dt)
    except BnnError:
        raise
    except ImportError as error:
        raise SetupError(f"{record.title}: {cannot_import(name, error)}") from None
    except Exception as error:  # of any kind: the importers do not check files
        text = (str(error).splitlines() or [""])[0][:200]
        raise CompileError(
            f"{path}: {record.title}'s importer fails on it ({type(error).__name__}: {text}), so the network cannot be "
            "compared with what it makes of the file"
        ) from error
    return module


def _prepare(graph: Any, quantized: bool) -> None:
    """Nodes of the package nir as importers expect them, in place: pools have numbers for rows and columns, where
    snnTorch's exporter writes one for both.  ``quantized``: weights and biases are rounded, in their own types."""
    for node in graph.nodes.values():
        if hasattr(node, "nodes"):
            _prepare(node, quantized)
        elif type(node).__name__ in ("AvgPool2d", "SumPool2d"):
            for name in ("kernel_size", "stride", "padding"):
                setattr(node, name, np.resize(np.asarray(getattr(node, name)), 2))
        elif hasattr(node, "weight") and quantized:
            weights = np.asarray(node.weight)
            single = weights.astype(np.float32)
            node.weight = quantize(single).astype(weights.dtype)
            if hasattr(node, "bias"):
                bias = np.asarray(node.bias)
                node.bias = quantize_bias(bias.astype(np.float32), single).astype(bias.dtype)
