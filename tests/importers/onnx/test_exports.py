# SPDX-License-Identifier: Apache-2.0
"""The architectures that people train in PyTorch and Brevitas, by every exporter: what imports, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[torch]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install -e '.[torch]'")
pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[torch]'")
pytest.importorskip("brevitas", reason="Brevitas is not installed: pip install brevitas onnxoptimizer")
pytest.importorskip("onnxoptimizer", reason="onnxoptimizer is not installed: pip install brevitas onnxoptimizer")

import bnn
from bnn.errors import BnnError

from . import exports, networks

pytestmark = pytest.mark.slow
IMPORTED, REFUSED = exports.EXPORTS, exports.REFUSED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@functools.cache
def compiled(export: exports.Export, folder: Path) -> bnn.Model:
    return bnn.compile(str(exports.write(export, folder)))


def images(name: str, count: int) -> Any:
    return networks.examples(name, count)


@pytest.mark.parametrize("export", IMPORTED, ids=lambda e: e.name)
def test_all_intended_layers_are_binary(export: exports.Export, folder: Path) -> None:
    model = compiled(export, folder)
    binary = {op.layer for op in model.ops if op.op in ("bconv2d", "iconv2d")}
    assert export.binary is not None
    count = sum(op.op == "bconv2d" for op in model.ops)
    assert count >= export.binary and len(binary) >= min(export.binary, 1), model.summary()
    assert bnn.verify(str(folder / f"{export.name}.onnx"), model, images(export.network, 2)).ok


@pytest.mark.parametrize("export", REFUSED, ids=lambda e: e.name)
def test_refused_by_name(export: exports.Export, folder: Path) -> None:
    with pytest.raises(BnnError, match=export.refused):
        bnn.compile(str(exports.write(export, folder)), require_binary=True)


def test_small_files(folder: Path) -> None:
    """Brevitas' LFC and CNV of bits."""
    sizes = {
        e.name: compiled(e, folder).nbytes
        for e in IMPORTED
        if e.name in ("lfc_1w1a-qonnx_legacy", "cnv_1w1a-qonnx_legacy")
    }
    assert sizes["lfc_1w1a-qonnx_legacy"] < 400_000 and sizes["cnv_1w1a-qonnx_legacy"] < 220_000


@pytest.mark.parametrize("export", [e for e in IMPORTED if "qonnx_legacy" in e.exporter], ids=lambda e: e.name)
def test_brevitas_gives_equal_bits(export: exports.Export, folder: Path) -> None:
    model = compiled(export, folder)
    x = images(export.network, 20)
    module = networks.build(export.network)
    (norm,) = (part for part in module.modules() if type(part).__name__ == "TensorNorm")
    norm.register_forward_hook(lambda norm, given, _: normalized(norm, given[0]))
    assert np.array_equal(model(x), networks.eager(module, x))


def normalized(norm: Any, x: Any) -> Any:
    """What the module means: the root that it takes is MKL's, which on some processors is not the nearest float."""
    mean, variance, weight, bias = (
        getattr(norm, name).detach().numpy() for name in ("running_mean", "running_var", "weight", "bias")
    )
    sums = getattr(x, "value", x).detach().numpy()
    result = (sums - mean) / np.sqrt(variance + np.float32(norm.eps)) * weight + bias
    return getattr(x, "value", x).new_tensor(result)
