# SPDX-License-Identifier: Apache-2.0
"""The architectures that people train in PyTorch and Brevitas, by every exporter: what imports, and what is refused."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[torch]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install -e '.[torch]'")
pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[torch]'")
pytest.importorskip("brevitas", reason="Brevitas is not installed: pip install brevitas onnxoptimizer")
pytest.importorskip("onnxoptimizer", reason="onnxoptimizer is not installed: pip install brevitas onnxoptimizer")

import torch

import bnn
from bnn.errors import BnnError
from seed import SEED

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
    meaning(module)
    assert np.array_equal(model(x), networks.eager(module, x))


@pytest.mark.parametrize("name", ["lfc_1w1a", "cnv_1w2a", "vgg10_w4a3", "separable_4b"])
def test_qonnx_gives_equal_bits(name: str, folder: Path) -> None:
    executor = pytest.importorskip("qonnx.core.onnx_exec", reason="the package qonnx is not installed")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    (export,) = (e for e in IMPORTED if e.name == f"{name}-qonnx_legacy")
    model, x = compiled(export, folder), images(name, 3)
    graph = ModelWrapper(str(folder / f"{export.name}.onnx")).transform(InferShapes())
    ends = graph.graph.input[0].name, graph.graph.output[0].name
    rows = [executor.execute_onnx(graph, {ends[0]: image[None]})[ends[1]] for image in x]
    assert np.array_equal(model(x), np.concatenate(rows))


class Annealed(torch.nn.Module):
    """A module that torch.export cannot read: it decides by a buffer."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("temperature", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x) if self.temperature < 1e-7 else x


@pytest.mark.parametrize(
    ("name", "annealed"), [("tfc_1w1a", True), ("tfc_2w2a", False), ("lfc_1w2a", False), ("cnv_1w2a", False)]
)
def test_modules_of_brevitas(name: str, annealed: bool) -> None:
    x, module = images(name, 20), networks.build(name)
    given = Annealed(module).eval() if annealed else module
    model = bnn.compile(given, x[:1])
    assert model.macs.float == model.macs.byte == 0, model.summary()
    layers = {op.layer.removeprefix("inner.") for op in model.ops}
    assert layers <= {name for name, _ in module.named_modules() if name.count(".") == 1}
    assert bnn.verify(given, model, x[:2]).ok
    meaning(module)  # which is as it was
    assert np.array_equal(model(x), networks.eager(module, x))


@pytest.mark.parametrize("weights", ["Int8WeightPerTensorFloat", "Int8WeightPerChannelFloat"])
@pytest.mark.parametrize("bits", [4, 8])
def test_layers_of_integers(weights: str, bits: int, tmp_path: Path) -> None:
    """Modules of Brevitas, and their exports as pairs of QuantizeLinear and DequantizeLinear: sums of integers."""
    import brevitas.nn as qnn
    import brevitas.quant as quant
    from brevitas.export import export_onnx_qcdq

    torch.manual_seed(SEED % 2**31)
    kept = {"bias": True, "weight_quant": getattr(quant, weights)}

    def relu() -> torch.nn.Module:
        return qnn.QuantReLU(act_quant=quant.Uint8ActPerTensorFloat, bit_width=bits, return_quant_tensor=True)

    module = torch.nn.Sequential(
        qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFloat, return_quant_tensor=True),
        qnn.QuantConv2d(3, 16, 3, padding=1, **kept), relu(),
        qnn.QuantConv2d(16, 24, 3, stride=2, **kept), torch.nn.BatchNorm2d(24), relu(),
        torch.nn.Flatten(), qnn.QuantLinear(24 * 36, 10, **kept),
    )  # fmt: skip
    for _ in range(4):  # the ranges
        module(torch.randn(8, 3, 14, 14))
    module.eval()
    x, path = torch.randn(16, 3, 14, 14).numpy(), str(tmp_path / "qcdq.onnx")
    export_onnx_qcdq(module, args=torch.from_numpy(x[:1]), export_path=path, opset_version=17)
    for source, model in ((path, bnn.compile(path)), (module, bnn.compile(module, x[:1]))):
        assert [op.op for op in model.ops if "conv2d" in op.op] == ["qconv2d"] * 3, model.summary()
        report = bnn.verify(source, model, x)
        assert report.ok and not report.quantized, str(report)


@pytest.mark.parametrize(("name", "refused"), [("brevitas_truncating", ""), ("brevitas_float8", "Log")])
def test_quantizers_that_qonnx_alone_has(name: str, refused: str) -> None:
    """PyTorch exports what they compute."""
    x, module = images(name, 4), networks.build(name)
    if refused:
        with pytest.raises(BnnError, match=refused):
            bnn.compile(module, x[:1])
    else:
        assert np.abs(bnn.compile(module, x[:1])(x) - networks.eager(module, x)).max() < 1e-5


def test_brevitas_exports_with_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxoptimizer", None)
    with pytest.raises(bnn.SetupError, match="Brevitas exports its modules with onnxoptimizer .*pip install onnxopt"):
        bnn.compile(networks.build("tfc_1w1a"), images("tfc_1w1a", 1))


def meaning(module: Any) -> None:
    """Let a network of Brevitas compute what it means, to the bit."""
    for norm in (part for part in module.modules() if type(part).__name__ == "TensorNorm"):
        norm.register_forward_hook(lambda norm, given, _: normalized(norm, given[0]))


def normalized(norm: Any, x: Any) -> Any:
    """What the module means: the root that it takes is MKL's, which on some processors is not the nearest float."""
    mean, variance, weight, bias = (
        getattr(norm, name).detach().numpy() for name in ("running_mean", "running_var", "weight", "bias")
    )
    sums = getattr(x, "value", x).detach().numpy()
    result = (sums - mean) / np.sqrt(variance + np.float32(norm.eps)) * weight + bias
    return getattr(x, "value", x).new_tensor(result)
