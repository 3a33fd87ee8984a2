# SPDX-License-Identifier: Apache-2.0
"""The quantizers of QONNX, which ONNX Runtime does not have, against their definition, read once more here."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx

import bnn
from bnn._types import Array
from bnn.importers.onnx.load import open_onnx
from bnn.importers.onnx.ops import READERS
from bnn.importers.onnx.qonnx import OPERANDS
from bnn.ir import interpret
from seed import SEED

from .small import by_onnx_runtime, model, node

DOMAIN = "qonnx.custom_op.general"
F = np.float32
# Halves of every scale, ends of every range and beyond, both zeros, denormals.
X = np.array([[v, v / 3, -v] for v in (*np.arange(0, 8, 0.125), 127, 127.5, 128, 255, 256, 1e9, np.inf, 1e-45)], F).T
X = np.stack([X, X[::-1] * F(0.25)])[:, None]  # (2, 1, 3, N)


def eighths(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-16, 17, shape).astype(F) / 8


ROUNDINGS = {"ROUND": np.round, "half_even": np.round, "FLOOR": np.floor, "ceil": np.ceil}


def ends(bits: int, signed: int, narrow: int) -> tuple[F, F]:
    lowest = -(2 ** (bits - 1)) + (1 if narrow else 0) if signed else 0
    return F(lowest), F(2 ** (bits - 1) - 1 if signed else 2**bits - (2 if narrow else 1))


def quant(x: Array, scale: Array, zero: Array, bits: int, signed: int, narrow: int, mode: str = "ROUND") -> Array:
    """QONNX's IntQuant, element by element."""
    levels = np.asarray(x / scale, F) + zero
    if signed and bits == 1:
        return (np.where(levels >= 0, F(1), F(-1)) - zero) * scale
    lowest, highest = ends(bits, signed, narrow)
    return (ROUNDINGS[mode](np.minimum(np.maximum(levels, lowest), highest)) - zero) * scale


def trunc(x: Array, scale: Array, zero: Array, bits: int, after: Any, to: int, signed: int, narrow: int,
          mode: str) -> Array:  # fmt: skip
    """QONNX's Trunc of version 2, or with ``after`` None of version 1, element by element."""
    whole = np.round(np.asarray(x / scale, F) + zero)
    if after is None:
        return (ROUNDINGS[mode](whole / F(2) ** F(bits - to)) - zero) * scale
    factor = F(2) ** np.round(np.log2(after / scale))
    lowest, highest = ends(to, signed, narrow)
    kept = ROUNDINGS[mode](np.minimum(np.maximum(whole / factor, lowest), highest))
    return np.asarray((kept - zero / factor) * after, F)


def compiled(op: str, operands: dict[str, Array], attrs: dict[str, Any], x: Array = X) -> tuple[Array, Array]:
    """An operator of the data, and the same of a constant, which is added to the data."""
    rest = " ".join(operands)
    nodes = [node(op, f"x {rest}", domain=DOMAIN, **attrs), node(op, f"c {rest}", "q", domain=DOMAIN, **attrs),
             node("Add", "x q", "sum")]  # fmt: skip
    proto = model(nodes, {**operands, "c": x[:1]}, ("N", *x.shape[1:]), domains=[DOMAIN])
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info("sum"))
    source = open_onnx(proto)
    found = interpret.outputs(source.graph(), [np.moveaxis(x, 1, -1)])
    names = source.outputs
    by_parts = source.evaluate([np.moveaxis(x, 1, -1)], names)  # as `verify` sees the operators
    for name, array in zip(names, found, strict=True):
        assert np.array_equal(by_parts[name].reshape(array.shape), array, equal_nan=True)
    return np.moveaxis(found[0], -1, 1), np.moveaxis(found[1], -1, 1)


@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
def test_levels(op: str, bits: int) -> None:
    scales = [F(1), F(0.5), F(0.3), np.array([0.25, 0.1, 3], F).reshape(1, 3, 1)]
    for signed, narrow, zero, scale in itertools.product((0, 1), (0, 1), (F(0), F(1), F(-2)), scales):
        mode = {0: "ROUND", 1: "FLOOR", -2: "ceil" if signed else "half_even"}[int(zero)]
        attrs = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
        if mode == "ROUND" and signed:
            del attrs["rounding_mode"]
        data, constant = compiled(op, {"s": scale, "z": zero, "b": F(bits)}, attrs)
        expected, what = quant(X, scale, zero, bits, signed, narrow, mode), f"{attrs} {zero} {scale}"
        assert np.array_equal(data, expected), what
        assert np.array_equal(constant, X + expected[:1], equal_nan=True), what


@pytest.mark.parametrize("scale", [F(1), F(0.3), np.array([0.25, 0.1, 3], F).reshape(1, 3, 1)])
def test_signs(scale: Array) -> None:
    data, constant = compiled("BipolarQuant", {"s": scale}, {})
    expected = np.where(X >= 0, scale, -scale)
    assert np.array_equal(data, expected) and np.array_equal(constant, X + expected[:1], equal_nan=True)


@pytest.mark.parametrize("mode", ["", *ROUNDINGS])
def test_truncation(mode: str) -> None:
    scales = [F(1), F(0.3), np.array([0.25, 0.1, 3], F).reshape(1, 3, 1)]
    for signed, zero, scale, factor in itertools.product((0, 1), (F(0), F(4)), scales, (None, 1, 2, 16)):
        attrs = {"rounding_mode": mode} if mode else {}
        if factor is not None and not signed:
            attrs |= {"signed": 0, "narrow": 1}
        after = None if factor is None else np.asarray(scale * F(factor))
        names = {"s": scale, "z": zero, "b": F(8)} | ({} if after is None else {"a": after}) | {"t": F(3)}
        data, constant = compiled("Trunc", names, attrs)
        expected = trunc(X, scale, zero, 8, after, 3, signed, 1 - signed, mode or "FLOOR")
        assert np.array_equal(data, expected), f"{attrs} {names}"
        with np.errstate(invalid="ignore"):
            assert np.array_equal(constant, X + expected[:1], equal_nan=True), f"{attrs} {names}"


def thresholded(x: Array, thresholds: Array, axis: int, scale: float = 1, bias: float = 0) -> Array:
    """FINN's MultiThreshold, channel by channel."""
    result, rows = np.zeros_like(x), np.broadcast_to(thresholds, (x.shape[axis], thresholds.shape[1]))
    for channel, row in enumerate(rows):
        at = (slice(None),) * axis + (channel,)
        result[at] = (x[at][..., None] >= row).sum(-1)
    return result * F(scale) + F(bias)


# The layout, the rank, and the dimension of the channels.
LAYOUTS = [("", 2, 1), ("NC", 2, 1), ("", 3, 2), ("NCW", 3, 1), ("", 4, 1), ("NCHW", 4, 1), ("NHWC", 4, 3)]


@pytest.mark.parametrize(("layout", "rank", "axis"), LAYOUTS)
def test_thresholds(layout: str, rank: int, axis: int) -> None:
    rng = np.random.default_rng([SEED, rank])
    x = eighths(rng, 3, *(4, 5, 6)[: rank - 1])
    for count, rows, scale, bias in ((1, 0, 2, -1), (3, 1, 0.3, 0.1), (7, 0, 1, 0), (20, 1, 1, -8)):
        thresholds = eighths(rng, rows or x.shape[axis], count)  # in any order
        attrs = {"out_dtype": "INT8", "out_scale": float(scale), "out_bias": float(bias), "data_layout": layout}
        if (scale, bias, layout) == (1, 0, ""):
            attrs = {"out_dtype": "UINT8"}
        data, constant = compiled("MultiThreshold", {"t": thresholds}, attrs, x)
        expected = thresholded(x, thresholds, axis, scale, bias)
        assert np.array_equal(data, expected) and np.array_equal(constant, x + expected[:1]), f"{count} {rows}"


@pytest.mark.parametrize(("count", "rows", "binary"), [(3, 32, True), (15, 32, True), (16, 32, False), (63, 1, True)])
def test_rising_thresholds_are_levels(count: int, rows: int, binary: bool) -> None:
    """Those of channels up to fifteen, those of all channels up to 255: the layer that reads them is binary."""
    rng = np.random.default_rng([SEED, count])
    thresholds = np.sort(rng.permuted(np.tile(np.arange(-160, 160, dtype=F), (rows, 1)), axis=1)[:, :count], axis=1)
    w, v = (rng.choice(np.array([-1, 1], F), shape) for shape in ((32, 8, 3, 3), (4, 32, 3, 3)))
    nodes = [
        node("BipolarQuant", "x one", "b", domain=DOMAIN), node("Conv", "b w", "c"),
        node("MaxPool", "c", "d", kernel_shape=[2, 2]),
        node("MultiThreshold", "d t", "q", domain=DOMAIN, out_dtype="UINT8"), node("Conv", "q v", pads=[1] * 4),
    ]  # fmt: skip
    proto = model(nodes, {"one": F(1), "w": w, "t": thresholds, "v": v}, ("N", 8, 9, 9), domains=[DOMAIN])
    x, found = eighths(rng, 3, 8, 9, 9), bnn.compile(proto)
    before = model([node("Conv", "x w", "c"), node("MaxPool", "c", kernel_shape=[2, 2])], {"w": w}, ("N", 8, 9, 9))
    sums = by_onnx_runtime(before, np.where(x >= 0, F(1), F(-1)))
    after = model([node("Conv", "x v", pads=[1] * 4)], {"v": v}, ("N", 32, 6, 6))
    assert np.array_equal(found(x), by_onnx_runtime(after, thresholded(sums, thresholds, 1)))
    assert (found.macs.float == 0) is binary and bnn.verify(proto, found, x).ok


def test_steps_of_other_heights() -> None:
    """Where the thresholds of some channels fall, a value is not told by how many of them it reaches."""
    rng = np.random.default_rng(SEED)
    x, v, low = eighths(rng, 9, 4, 5), rng.choice(np.array([-1, 1], F), (3, 4, 1)), eighths(rng, 4, 1)
    for high in (low + F(0.5), low + rng.permuted(np.array([-1, 1, -1, 1], F)).reshape(4, 1)):
        nodes = [
            node(
                "MultiThreshold", f"x {t}", f"{t}s", domain=DOMAIN, out_dtype="INT8", out_scale=scale, data_layout="NCW"
            )
            for t, scale in (("low", 1.0), ("high", 3.0))
        ]
        proto = model([*nodes, node("Add", "lows highs", "q"), node("Conv", "q v")], {"low": low, "high": high, "v": v},
                      ("N", 4, 5), rank=3, domains=[DOMAIN])  # fmt: skip
        levels = (x >= low).astype(F) + F(3) * (x >= high)
        assert np.array_equal(bnn.compile(proto)(x), np.einsum("ncw,fc->nfw", levels, v[..., 0]))


@pytest.mark.parametrize("shape", [(5, 40), (5, 3, 40)])
def test_bits_that_are_equal(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(SEED)
    x, w = rng.integers(0, 2, shape).astype(F), rng.integers(0, 2, (40, 12)).astype(F)
    data = node("MultiThreshold", "x t", "b", domain=DOMAIN, out_dtype="BINARY", data_layout="NC")
    proto = model([data, node("XnorPopcountMatMul", "b w", domain=DOMAIN)], {"t": np.full((1, 1), 0.5, F), "w": w},
                  ("N", *shape[1:]), rank=len(shape), domains=[DOMAIN])  # fmt: skip
    found = bnn.compile(proto)
    assert np.array_equal(found(x), (x[..., None] == w).sum(-2))
    assert found.macs.float == 0 and bnn.verify(proto, found, x).ok


def test_the_definitions_here_are_those_of_the_package() -> None:
    package = pytest.importorskip("qonnx.custom_op.general.intquant", reason="the package qonnx is not installed")
    for bits, signed, narrow, zero, mode in itertools.product((1, 2, 8), (0, 1), (0, 1), (F(0), F(3)), ROUNDINGS):
        theirs = package.int_quant(X, F(0.3), zero, np.array(bits, F), signed, narrow, mode)
        assert np.array_equal(theirs, quant(X, F(0.3), zero, bits, signed, narrow, mode))
    package = pytest.importorskip("qonnx.custom_op.general.trunc")
    for signed, narrow, zero, mode, factor in itertools.product((0, 1), (0, 1), (F(0), F(4)), ROUNDINGS, (1, 8)):
        given, after = (F(0.3), zero, np.array(8, F)), F(0.3) * F(factor)
        theirs = package.trunc_v2(X, *given, narrow, signed, after, np.array(3, F), mode)
        assert np.array_equal(theirs, trunc(X, *given, after, 3, signed, narrow, mode))
        theirs = package.trunc_v1(X, *given, np.array(3, F), mode)
        assert np.array_equal(theirs, trunc(X, *given, None, 3, signed, narrow, mode))


def test_the_thresholds_here_are_those_of_the_package() -> None:
    package = pytest.importorskip("qonnx.custom_op.registry", reason="the package qonnx is not installed")
    rng = np.random.default_rng(SEED)
    for layout, rank, axis in LAYOUTS:
        x, attrs = eighths(rng, 3, *(4, 5, 6)[: rank - 1]), {"out_scale": 0.3, "out_bias": -1.5, "data_layout": layout}
        thresholds = eighths(rng, x.shape[axis], 4)
        op = package.getCustomOp(node("MultiThreshold", "x t", domain=DOMAIN, out_dtype="INT8", **attrs))
        op.execute_node(values := {"x": x, "t": thresholds}, None)
        assert np.array_equal(values["y"], thresholded(x, thresholds, axis, 0.3, -1.5)), layout
    bits, w = rng.integers(0, 2, (5, 40)).astype(F), rng.integers(0, 2, (40, 12)).astype(F)
    op = package.getCustomOp(node("XnorPopcountMatMul", "x w", domain=DOMAIN))
    op.execute_node(values := {"x": bits, "w": w}, None)
    assert np.array_equal(values["y"], (bits[..., None] == w).sum(-2))


def test_every_operator_has_a_case() -> None:
    cases = {"BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc", "XnorPopcountMatMul"}
    assert {op for op in READERS if not onnx.defs.has(op)} == OPERANDS.keys() == cases
