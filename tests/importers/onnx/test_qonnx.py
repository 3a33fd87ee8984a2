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

from bnn._types import Array
from bnn.importers.onnx.load import open_onnx
from bnn.importers.onnx.ops import READERS
from bnn.ir import interpret

from .small import model, node

DOMAIN = "qonnx.custom_op.general"
F = np.float32
# Halves of every scale, ends of every range and beyond, both zeros, denormals.
X = np.array([[v, v / 3, -v] for v in (*np.arange(0, 8, 0.125), 127, 127.5, 128, 255, 256, 1e9, np.inf, 1e-45)], F).T
X = np.stack([X, X[::-1] * F(0.25)])[:, None]  # (2, 1, 3, N)


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


def test_every_operator_has_a_case() -> None:
    assert {op for op in READERS if not onnx.defs.has(op)} == {"BipolarQuant", "IntQuant", "Quant", "Trunc"}
