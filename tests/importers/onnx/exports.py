# SPDX-License-Identifier: Apache-2.0
"""The networks of networks.py as ONNX files, by every exporter that people use.

``EXPORTS`` are the files that are read, ``REFUSED`` those that are not; ``write`` makes one.  Needs torch,
onnx, onnxscript and onnxruntime, and for its networks brevitas and onnxoptimizer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import networks


@dataclass(frozen=True)
class Export:
    network: str
    exporter: str
    opset: int | None = None
    """None: the exporter's own choice."""
    batch: bool = False
    """The file takes any number of images, else one."""
    refused: str = ""
    """A word of the error, where the file cannot be compiled."""

    @property
    def name(self) -> str:
        return f"{self.network}-{self.exporter}"

    @property
    def binary(self) -> int | None:
        """How many layers have binary weights and bits or levels as inputs; None: the file is refused."""
        return None if self.refused else networks.NETWORKS[self.network].binary


def _torch(export: Export, module: nn.Module, path: Path, **options: Any) -> None:
    images = torch.from_numpy(networks.examples(export.network, 2 if export.batch else 1))
    if export.batch and options["dynamo"]:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif export.batch:
        options |= {"input_names": ["images"], "dynamic_axes": {"images": {0: "batch"}}}
    torch.onnx.export(module, (images,), path, opset_version=export.opset, external_data=False, **options)


def _legacy(export: Export, module: nn.Module, path: Path) -> None:
    _torch(export, module, path, dynamo=False, do_constant_folding=False)


def _legacy_folded(export: Export, module: nn.Module, path: Path) -> None:
    _torch(export, module, path, dynamo=False)


def _dynamo(export: Export, module: nn.Module, path: Path) -> None:
    _torch(export, module, path, dynamo=True, optimize=False, verbose=False)


def _dynamo_optimized(export: Export, module: nn.Module, path: Path) -> None:
    _torch(export, module, path, dynamo=True, verbose=False)


def _brevitas(form: str, dynamo: bool) -> Callable[[Export, nn.Module, Path], None]:
    def write(export: Export, module: nn.Module, path: Path) -> None:
        from brevitas import export as exporters

        images = torch.from_numpy(networks.examples(export.network, 1))
        options = {} if export.opset is None else {"opset_version": export.opset}
        getattr(exporters, form)(module, args=images, export_path=str(path), dynamo=dynamo, **options)

    return write


def _int8(symmetric: bool) -> Callable[[Export, nn.Module, Path], None]:
    """What ONNX Runtime makes of a file by measuring activations: its float layers become integer ones."""

    def write(export: Export, module: nn.Module, path: Path) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        _legacy(export, module, path)
        model = onnx.load(path)
        stored = {i.name for i in model.graph.initializer}
        floats = [n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in stored]

        class Images(CalibrationDataReader):
            def __init__(self) -> None:
                self.images = iter(networks.examples(export.network, 32)[:, None])

            def get_next(self) -> Any:
                image = next(self.images, None)
                return None if image is None else {model.graph.input[0].name: image}

        quantize_static(
            path,
            path,
            Images(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=floats,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        )

    return write


EXPORTERS = {
    "legacy": _legacy,
    "legacy_folded": _legacy_folded,
    "dynamo": _dynamo,
    "dynamo_optimized": _dynamo_optimized,
    "qonnx_legacy": _brevitas("export_qonnx", dynamo=False),
    "qonnx_dynamo": _brevitas("export_qonnx", dynamo=True),
    "qcdq_legacy": _brevitas("export_onnx_qcdq", dynamo=False),
    "qcdq_dynamo": _brevitas("export_onnx_qcdq", dynamo=True),
    "int8": _int8(symmetric=True),
    "int8_zero_points": _int8(symmetric=False),
}

# By network: exporters, their versions if not their own choice, and "batch" for files that take any number of images.
IMPORTED = {
    "binarynet_mlp": "legacy 11, dynamo 18 batch",
    "binarynet_vgg": "legacy 13, dynamo 20",
    "binarynet_ties": "legacy 17, dynamo 23",
    "comparisons": "legacy 11 batch, dynamo 20 batch",
    "bitorch_resnet": "legacy 13, dynamo 25, int8 17, int8_zero_points 17",
    "xnor_nin": "legacy 17 batch, dynamo 18",
    "birealnet": "legacy 20, dynamo 20 batch, legacy_folded",
    "reactnet": "legacy 23, dynamo 23, dynamo_optimized",
    "reactnet_resnet": "legacy 11, dynamo 25",
    "irnet": "legacy 13 batch, dynamo 20",
    "bnext": "legacy 17, dynamo 18",
    "dorefa": "legacy 20, dynamo 23",
    "stored_signs": "legacy_folded, dynamo_optimized",
    "signals": "legacy 23, dynamo 25",
    "mobile": "legacy 11, dynamo 20 batch",
    "densenet": "legacy 13 batch, dynamo 18",
    "decoder": "legacy 17 batch, dynamo 23",
    "tfc_1w1a": "qonnx_legacy, qonnx_dynamo",
    "tfc_1w2a": "qonnx_legacy 13, qonnx_dynamo",
    "tfc_2w2a": "qcdq_legacy",
    "lfc_1w1a": "qonnx_legacy",
    "lfc_1w2a": "qonnx_dynamo",
    "cnv_1w1a": "qonnx_legacy 11, qonnx_dynamo",
    "cnv_1w2a": "qonnx_legacy, qonnx_dynamo",
    "cnv_2w2a": "qcdq_dynamo",
    "vgg10_w4a3": "qonnx_legacy, qonnx_dynamo",
    "separable_4b": "qonnx_legacy, qonnx_dynamo",
    "scale_per_image": "legacy 17, dynamo 20",
}


def _export(network: str, exporter: str, *options: str) -> Export:
    opset = next((int(o) for o in options if o.isdigit()), None)
    return Export(network, exporter, opset, "batch" in options)


EXPORTS = tuple(_export(name, *given.split()) for name, text in IMPORTED.items() for given in text.split(","))
REFUSED = (
    Export("scale_per_pixel", "legacy", refused="scaled by other data"),
    Export("scale_per_pixel", "dynamo", refused="scaled by other data"),
    Export("recurrent", "legacy", refused="LSTM"),
    Export("attention", "legacy", refused="MatMul"),
    Export("ceil_pooling", "legacy", refused="ceil_mode"),
    Export("brevitas_truncating", "qonnx_legacy", refused="Trunc"),
    Export("brevitas_float8", "qonnx_legacy", refused="FloatQuant"),
)


def write(export: Export, folder: Path) -> Path:
    """Export a network to ``folder``/``name``.onnx."""
    path = folder / f"{export.name}.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            EXPORTERS[export.exporter](export, networks.build(export.network), path)
        finally:
            logging.disable(logging.NOTSET)
    return path
