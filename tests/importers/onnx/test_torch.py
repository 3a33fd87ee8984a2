# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules: exported by PyTorch, compiled, and compared with ONNX Runtime and with the module itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[torch]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install -e '.[torch]'")
pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[torch]'")

import torch
from torch import nn
from torch.nn import functional

import bnn
from bnn._types import Array
from bnn.errors import CompileError, InputError

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (6, 3, 12, 12)).astype(np.float32))


class Sign(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= 0, 1.0, -1.0)


class BinaryConv(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, torch.sign(self.weight), None, self.stride, self.padding)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), Sign(), BinaryConv(8, 16, 3, padding=1), nn.MaxPool2d(2),
        nn.BatchNorm2d(16), Sign(), nn.Flatten(), nn.Dropout(), nn.Linear(400, 10),
    )  # fmt: skip
    made(torch.randn(64, 3, 12, 12))  # statistics for the batch norms
    return made


def run(module: nn.Module, x: torch.Tensor) -> Array:
    modes = module.training
    module.eval()
    with torch.no_grad():
        result: Array = module(x).numpy()
    module.train(modes)
    return result


def test_a_module_is_compiled_and_verified() -> None:
    module = network()
    module[1].eval()
    compiled = bnn.compile(module, IMAGES[:1])
    assert [part.training for part in module[:3]] == [True, False, True], "the module is as it was"
    assert compiled.layout == "NCHW" and compiled.input_shapes == [(3, 12, 12)] and compiled.output_shapes == [(10,)]
    assert [op.layer for op in compiled.ops if op.op == "bconv2d"] == ["3"]
    assert np.abs(compiled(IMAGES.numpy()) - run(module, IMAGES)).max() < 1e-5
    report = bnn.verify(module, compiled, IMAGES.numpy())
    assert report.ok and report.framework == "ONNX"


def test_an_example_may_be_an_array() -> None:
    assert bnn.compile(network(), np.zeros((1, 3, 12, 12), np.float32)).input_shapes == [(3, 12, 12)]


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = BinaryConv(3, 4, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(torch.sign(left)), left + right


def test_several_inputs_and_outputs() -> None:
    module = TwoInputs()
    left, right = IMAGES, IMAGES.flip(0)
    compiled = bnn.compile(module, (left, right))
    assert compiled.input_names == ["left", "right"] and compiled.output_shapes == [(4, 10, 10), (3, 12, 12)]
    with torch.no_grad():
        expected = module(left, right)
    for found, tensor in zip(compiled([left.numpy(), right.numpy()]), expected, strict=True):
        assert np.array_equal(found, tensor.numpy())
    assert bnn.verify(module, compiled, [left.numpy(), right.numpy()]).ok


class BitLinear(nn.Linear):
    """Signs of weights less their mean, and eight bits per image, scaled by its largest value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        levels = (x * scale).round().clamp(-128, 127) / scale
        signs = (self.weight - self.weight.mean()).sign() * self.weight.abs().mean()
        x = x + (levels - x).detach()
        return nn.functional.linear(x, self.weight + (signs - self.weight).detach())


def test_a_scale_of_activations_that_depends_on_the_data() -> None:
    """Linear layers as in BitNet (Wang et al., 2023)."""
    torch.manual_seed(0)
    module = nn.Sequential(BitLinear(64, 128, bias=False), nn.ReLU(), BitLinear(128, 10, bias=False)).eval()
    x = torch.randn(9, 64)
    compiled = bnn.compile(module, x[:1])
    assert compiled.macs.float == 0 and [op.op for op in compiled.ops].count("bconv2d") == 2
    report = bnn.verify(module, compiled, x.numpy())
    assert report.ok and not report.different_bits, str(report)
    # A level of the second layer may turn by a rounding of the first one's floats.
    assert np.abs(compiled(x.numpy()) - run(module, x)).max() < 0.01


class Branching(nn.Module):
    """A trace would keep the branch that the example takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Quantized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.sign(x)


class Scaled(nn.Module):
    """What is computed of data in other ways: by a function with a gradient of its own, in place, and by NumPy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([Quantized.apply(x).detach(), x.data], 1)
        y[:, 0] = 1
        return x * float(y.numpy().max())


@pytest.mark.parametrize("kind", [Branching, Scaled])
def test_decisions_by_the_data_are_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(CompileError, match=f"{kind.__name__}.*decides by its data"):
        bnn.compile(kind(), torch.ones(2, 6))


class Assigned(nn.Module):
    """Signs, and other numbers, by assignments to what masks choose."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.sign(x)
        h[h == 0] = 1.0
        g = x.clone()
        g[x > 0.5] = 2
        g[x <= 0.5] = -2.0
        return functional.conv2d(h, self.weight.sign()) + g[:, :1, 1:-1, 1:-1]


def test_assignments_by_masks() -> None:
    x = torch.round(IMAGES)
    compiled = bnn.compile(Assigned(), x[:1])
    assert compiled.macs.float == 0 and not compiled.warnings
    assert np.array_equal(compiled(x.numpy()), run(Assigned(), x))


class Quantizing(nn.Module):
    """A function of the data, and a layer of signs that reads it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.function(x)
        return y, functional.conv2d(y, self.weight.sign())


ZEROS = torch.zeros(3, dtype=torch.int32)
QUANTIZERS = {
    "copysign": lambda x: torch.copysign(torch.ones_like(x), x),
    "the sign of copysign": lambda x: torch.tensor(-0.5).copysign(x - 0.25),
    "x / |x|": lambda x: (x + 0.01) / (x + 0.01).abs(),
    "2 bits": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.3, 0, -2, 1),
    "unsigned": lambda x: torch.fake_quantize_per_tensor_affine(x, torch.tensor(0.7), ZEROS[0] + 1, 0, 3),
    "channels": lambda x: torch.fake_quantize_per_channel_affine(x, torch.tensor([0.3, 0.3, 0.3]), ZEROS, 1, -4, 3),
    "8 bits": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.02, 0, -128, 127),
}


@pytest.mark.parametrize("function", QUANTIZERS.values(), ids=QUANTIZERS)
def test_quantizers_that_the_exporters_do_not_have(function: Any) -> None:
    tenths = torch.arange(-216, 216).reshape(1, 3, 12, 12) / 20  # where levels meet
    module, x = Quantizing(function).eval(), torch.cat([IMAGES, tenths])
    with torch.no_grad():
        expected = [y.numpy() for y in module(x)]
    compiled = bnn.compile(module, x[:1])
    levels, sums = compiled(x.numpy())
    assert np.array_equal(levels, expected[0]) and np.abs(sums - expected[1]).max() < 1e-5
    assert compiled.macs.float == 0 and bnn.verify(module, compiled, x.numpy()).ok


def test_training_with_quantizers_of_two_bits() -> None:
    """As torch.ao does it; its observers are parts of the module, and decide by buffers."""
    from torch.ao import quantization

    observer = quantization.MovingAverageMinMaxObserver
    fake = quantization.FakeQuantize.with_args
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, bias=False), nn.BatchNorm2d(32),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    module.qconfig = quantization.QConfig(
        activation=fake(observer=observer, quant_min=0, quant_max=3, dtype=torch.quint8),
        weight=fake(observer=observer, quant_min=-2, quant_max=1, dtype=torch.qint8,
                    qscheme=torch.per_tensor_symmetric),
    )  # fmt: skip
    quantization.prepare_qat(module.train(), inplace=True)(IMAGES)
    module.eval().apply(quantization.disable_observer)
    compiled = bnn.compile(module, IMAGES[:1])
    assert compiled.macs.binary > compiled.macs.float > 0
    assert np.abs(compiled(IMAGES.numpy()) - run(module, IMAGES)).max() < 1e-5


class DataReplaced(nn.Conv2d):
    """As in BinaryNet (Hubara et al., 2016), whose layers replace the data of their inputs and weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.data = torch.where(x.data >= 0, 1.0, -1.0)
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = self.weight.org.sign()
        y = functional.conv2d(x, self.weight)
        self.bias.org = self.bias.data.clone()
        return y + self.bias.view(1, -1, 1, 1).expand_as(y)


def test_data_that_layers_replace() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), DataReplaced(3, 8, 3), nn.BatchNorm2d(8), DataReplaced(8, 4, 3)).eval()
    expected = run(module, IMAGES.clone())
    compiled = bnn.compile(module, IMAGES[:2].clone())
    assert compiled.macs.float == 0 and np.array_equal(compiled(IMAGES.numpy()), expected)
    assert "data" not in vars(torch.Tensor)


class Annealed(nn.Module):
    """It decides by a buffer: weights are signs once the temperature is low."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1)))
        self.register_buffer("temperature", torch.full((1,), temperature))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.sign() if self.temperature < 1e-7 else self.weight
        return functional.conv2d(torch.where(x >= 0, 1.0, -1.0), weight)


@pytest.mark.parametrize(("temperature", "binary"), [(1e-8, True), (1.0, False)])
def test_decisions_by_buffers_are_constants(temperature: float, binary: bool) -> None:
    module = Annealed(temperature)
    compiled = bnn.compile(module, IMAGES[:1])
    assert (compiled.macs.binary > 0) is binary and (compiled.macs.float == 0) is binary
    assert np.abs(compiled(IMAGES.numpy()) - run(module, IMAGES)).max() < 1e-4


def test_what_torch_export_cannot_read_is_traced() -> None:
    module, x = nn.Linear(6, 3), torch.ones(2, 6)
    compiled = bnn.compile(torch.jit.trace(module, x), x)
    assert np.abs(compiled(x.numpy()) - run(module, x)).max() < 1e-6


def test_bytes_for_a_module_of_floats() -> None:
    module = network()
    x = np.random.default_rng(1).integers(0, 256, (3, 3, 12, 12), np.uint8)
    compiled = bnn.compile(module, IMAGES[:1], input_dtype="uint8")
    assert bnn.verify(module, compiled, x).ok


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_computed_in_float32(kind: torch.dtype) -> None:
    module = network().eval()
    given = module.to(kind)
    with pytest.warns(bnn.CompileWarning, match=f"{str(kind).removeprefix('torch.')} numbers are computed in float32"):
        compiled = bnn.compile(given, IMAGES[:1])
    assert bnn.verify(given, compiled, IMAGES.numpy()).ok
    assert np.array_equal(compiled(IMAGES.numpy()).argmax(1), run(module.float(), IMAGES).argmax(1))


def test_what_wraps_a_module(tmp_path: Path) -> None:
    module = network().eval()
    plain = bnn.compile(module, IMAGES[:1]).to_bytes()
    for wrapped in (nn.DataParallel(module), torch.compile(module, backend="eager")):
        assert bnn.compile(wrapped, IMAGES[:1]).to_bytes() == plain
    free = ({0: torch.export.Dim.AUTO},)
    program, file = torch.export.export(module, (IMAGES[:2],), dynamic_shapes=free), tmp_path / "net.pt2"
    torch.export.save(program, file)
    assert bnn.compile(program).to_bytes() == bnn.compile(file, unsafe=True).to_bytes() == plain
    with pytest.raises(CompileError, match="net.pt2: PyTorch may run code .*unsafe=True"):
        bnn.compile(file)
    file.write_bytes(b"PK")
    with pytest.raises(CompileError, match="net.pt2: PyTorch cannot export it"):
        bnn.compile(file, unsafe=True)


def test_an_exported_program_is_an_onnx_model() -> None:
    module = network().eval()
    program = torch.onnx.export(module, (IMAGES[:2],), dynamo=True, optimize=False, verbose=False)
    assert bnn.compile(program).input_shapes == [(3, 12, 12)]
    with pytest.raises(InputError, match="give the PyTorch module itself"):
        bnn.compile(module.state_dict())


def test_a_tensor_with_gradients_is_no_array() -> None:
    compiled = bnn.compile(network(), IMAGES[:1])
    with pytest.raises(InputError, match="Tensor is not an array"):
        compiled(IMAGES.clone().requires_grad_())


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("nothing works")


@pytest.mark.parametrize(
    ("module", "example", "error", "message"),
    [
        (network, None, InputError, "needs an example of its input"),
        (network, "abc", InputError, "found str, expected a tensor or an array"),
        (network, torch.zeros(3), InputError, r"example: found shape \(3,\), expected \(N, ...\)"),
        (network, torch.zeros(0, 3, 12, 12), InputError, "at least one image"),
        (Broken, torch.zeros(1, 3), CompileError, "PyTorch cannot export Broken to ONNX: .*nothing works"),
    ],
)
def test_wrong_use(module: Any, example: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bnn.compile(module(), example)


def test_the_example_has_the_shape() -> None:
    with pytest.raises(InputError, match="takes the shape of its example"):
        bnn.compile(network(), IMAGES[:1], input_shape=(3, 12, 12))
