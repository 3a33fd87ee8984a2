# SPDX-License-Identifier: Apache-2.0
"""exp, tanh, erf, erfc, log1p, pow and what is made of them: how accurate they are, and that no compiler, processor or
emulator gives other bytes than the oracle."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir.ops import OPS, PowAttrs, input_node, make
from bnn.runtime import Model, build
from op_graphs import plan
from targets import compiled

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = [op for op in OPS.values() if op.truth and op.elementwise]
# Those that layers use, both kinds of whole ones, and the ends of the floats.
EXPONENTS = [
    -1.5, -1.0, -0.5, 0.5, 1.0, 2.0, 2.5, 3.0, -2.0, 7.0, 1 / 3, 1e-3, -33.0, 1e6, 2.0**23 + 1, 2.0**24 - 1, -3e38,
]  # fmt: skip
OWN_NAN = {op.name for op in FUNCTIONS if "sqrtf" in op.c}
SPECIAL = [0.0, -0.0, 1e-45, np.inf, -np.inf, np.nan]
CASES = [(op.name, exponent) for op in FUNCTIONS for exponent in (EXPONENTS if op.attrs is PowAttrs else [1.0])]
STEP = 2**16  # every such float is compared byte by byte
WIDTH = 61  # of rows, which no block divides
EDGES = np.float32([
    0, 2.0**-149, 2.0**-126, 2.0**-25, 0.46875, 0.5, 0.84375, 1, 2, 3, 3.9, 4, 9, 10, 10.06, 10.125, 87.3, 88.72, 89,
    103.9, 104, 2.0**24, 2.0**127, 3.4028235e38, np.inf, np.nan,
])  # fmt: skip


def floats(first: int, step: int) -> Array:
    """Every step-th float, by its bits."""
    return np.arange(first, 2**32, step, np.uint64).astype(np.uint32).view(np.float32)


def attributes(name: str, exponent: float) -> Any:
    return PowAttrs(float(np.float32(exponent))) if OPS[name].attrs is PowAttrs else OPS[name].attrs()


def oracle(name: str, x: Array, exponent: float = 1.0) -> Array:
    return np.asarray(OPS[name].reference(x, a=attributes(name, exponent)))


def runtime(name: str, x: Array, exponent: float = 1.0) -> Array:
    rows = np.resize(x, (-(-x.size // WIDTH), WIDTH))
    node = input_node("x", (WIDTH,))
    model = Model.from_bytes(encode(plan([node], [make(name, node, attrs=attributes(name, exponent))])))
    return np.asarray(model(rows)).reshape(-1)[: x.size].reshape(x.shape)


def same(found: Array, expected: Array, x: Array, what: str) -> None:
    """To the byte; but processors have NaN of their own for roots of negative numbers."""
    if what.split()[0] in OWN_NAN:
        found, expected = (np.where(np.isnan(y), np.float32(np.nan), y) for y in (found, expected))
    differ = found.view(np.uint32) != expected.view(np.uint32)
    assert not differ.any(), f"{what}: of {x[differ][:5]} {found[differ][:5]}, expected {expected[differ][:5]}"


def program(folder: Path, compiler: Sequence[str]) -> Path:
    path = folder / "functions"
    rows = []
    for op in FUNCTIONS:
        c = op.c.format(exponent="exponent")
        loop = f"for (size_t k = 0; k < n; k++) {{ float x = in[k]; out[k] = {c}; }}"
        rows.append(f"ROW({op.name}, {c if 'out' in c else loop})")
    files = ["tests/ops/functions.c", "csrc/mcu/functions.c"]
    command = [*compiler, *build.INCLUDE_FLAGS, f"-DFUNCTIONS={' '.join(rows)}", *files, "-lm", "-o", str(path)]
    compiled(command)
    return path


# -- against the true value -------------------------------------------------------------------------------------------


def errors(found: Array, true: Array, size: float = 0.0) -> Array:
    """In units in the last place of the true value; infinity for what is no rounding: NaN, a sign, an overflow."""
    most = float(np.finfo(np.float32).max)
    nearest = np.where(np.abs(true) >= most + 2.0**103, np.copysign(np.inf, true), true)  # overflow is right there
    _, exponent = np.frexp(np.clip(np.abs(true), max(size, 2.0**-126), most))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(np.float64(found) - true) / np.ldexp(1.0, exponent - 24)
    apart = np.where(np.isnan(found) | np.isinf(found) | np.isnan(true), np.inf, apart)
    apart = np.where((np.isnan(found) & np.isnan(true)) | (np.isinf(found) & (found == nearest)), 0, apart)
    return np.asarray(np.where((np.signbit(found) != np.signbit(true)) & (size == 0) & ~np.isnan(true), np.inf, apart))


def check_accurate(name: str, exponent: float, x: Array, found: Array) -> None:
    truth = OPS[name].truth
    assert truth is not None
    error = errors(found, truth(x, attributes(name, exponent)), truth.size)
    worst = np.argmax(error)
    text = f"{name} {exponent}: {error.flat[worst]} units in the last place at {x.flat[worst]!r}: {found.flat[worst]!r}"
    print(text)
    assert error.flat[worst] <= truth.ulps, text


@pytest.mark.parametrize(("name", "exponent"), CASES)
def test_accurate(name: str, exponent: float, rng: np.random.Generator) -> None:
    """The oracle; and the runtime has its bytes."""
    step = 2**16
    x = np.concatenate([floats(int(rng.integers(step)), step), data(rng)])
    expected = oracle(name, x, exponent)
    check_accurate(name, exponent, x, expected)
    same(runtime(name, x, exponent), expected, x, f"{name} {exponent}")


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 10, 64, 1000])
def test_softmax(channels: int, rng: np.random.Generator) -> None:
    x = (rng.normal(0, 1, (200, channels)) * 10.0 ** rng.choice([-2, 0, 1, 2, 30], (200, 1))).astype(np.float32)
    x[0, -1], x[1, 0], x[2], x[3, 0] = np.nan, np.inf, -np.inf, -np.inf
    node = input_node("x", (channels,))
    expected = oracle("softmax", x)
    check_accurate("softmax", 1.0, x, expected)
    same(np.asarray(Model.from_bytes(encode(plan([node], [make("softmax", node)])))(x)), expected, x, "softmax")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exponent"), [case for case in CASES if case[1] in (1.0, *EXPONENTS[:2])])
def test_accurate_everywhere(name: str, exponent: float, rng: np.random.Generator) -> None:
    """The runtime at one float of 128; BNN_TEST_STEP=1 leaves out none, which takes an hour for each function."""
    step = int(os.environ.get("BNN_TEST_STEP", "128"))
    first, block = int(rng.integers(step)), 2**20 * step
    for begin in range(0, 2**32, block):
        x = np.arange(begin + first, min(begin + block, 2**32), step, np.uint64).astype(np.uint32).view(np.float32)
        check_accurate(name, exponent, x, runtime(name, x, exponent))


def test_the_true_value_is_told_from_its_neighbours() -> None:
    """The measure of these tests."""
    true = np.exp(np.linspace(-100, 90, 9999))
    with np.errstate(over="ignore"):
        nearest = true.astype(np.float32)
        next_but_one = np.nextafter(np.nextafter(nearest, np.float32(np.inf)), np.float32(np.inf))
    assert (errors(nearest, true) <= 0.5).all()
    assert (errors(next_but_one, true)[np.isfinite(next_but_one)] > 1).all()
    rows = [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1e38), (-0.0, 0.0), (3e38, 1e39), (-1e-45, 1e-45)]
    assert (errors(*np.array(rows).T) > 1).all()


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0, 3.0])
def test_powers_that_are_floats_are_exact(exponent: float) -> None:
    x = np.arange(1, 256, dtype=np.float32)
    x = x**2 if exponent == 0.5 else 2.0 ** np.arange(-100, 100).astype(np.float32) if exponent < 0 else x
    same(oracle("pow", x, exponent), (x.astype(np.float64) ** exponent).astype(np.float32), x, f"pow {exponent}")


def test_whole_results() -> None:
    """What is known without arithmetic."""
    x = np.float32([0, -0.0, np.inf, -np.inf])
    for name, values in {
        "exp": [1, 1, np.inf, 0], "tanh": [0, -0.0, 1, -1], "erf": [0, -0.0, 1, -1], "erfc": [1, 1, 0, 2],
        "log1p": [0, -0.0, np.inf, np.nan], "sigmoid": [0.5, 0.5, 1, 0], "elu": [0, -0.0, np.inf, -1],
    }.items():  # fmt: skip
        same(oracle(name, x), np.float32(values), x, name)
    for name in {name for name, _ in CASES} - OWN_NAN:
        bits = oracle(name, np.uint32([0xFFC00001, 0x7F800001]).view(np.float32)).view(np.uint32)
        assert bits.tolist() == [0x7FC00000] * 2, name


@pytest.mark.parametrize("exponent", [*SPECIAL, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 2.0**24, 2.0**23 + 1, 3e38])
def test_powers_as_in_annex_f(exponent: float) -> None:
    """NumPy calls the C library here, where ** takes a root; the NaN is ours."""
    x = np.float32([0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3e38, -3e38, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        expected = np.power(x, np.full_like(x, exponent))
    found = oracle("pow", x, exponent)
    assert (found.view(np.uint32)[np.isnan(found)] == 0x7FC00000).all()
    exact = ~(np.isfinite(expected) & (expected != 0) & (np.abs(x) != 1))
    np.testing.assert_array_equal(found[exact], expected[exact])
    np.testing.assert_array_equal(np.signbit(found[~np.isnan(found)]), np.signbit(expected[~np.isnan(expected)]))
    np.testing.assert_allclose(found, expected, rtol=1.2e-7)


# -- the same bytes ---------------------------------------------------------------------------------------------------


def data(rng: np.random.Generator) -> Array:
    """Of every size: any bits, numbers that layers have, and the ends of what is computed."""
    few = rng.integers(0, 2**32, 20000, np.uint64).astype(np.uint32).view(np.float32)
    usual = (rng.normal(0, 1, 20000) * 10.0 ** rng.integers(-4, 3, 20000)).astype(np.float32)
    with np.errstate(over="ignore"):
        ends = np.concatenate([EDGES, np.nextafter(EDGES, np.float32(0)), np.nextafter(EDGES, np.float32(np.inf))])
    return np.concatenate([few, usual, ends, -ends])


@pytest.mark.parametrize("exponent", SPECIAL, ids=str)
def test_special_powers_of_the_runtime_equal_the_oracle(exponent: float, rng: np.random.Generator) -> None:
    x = data(rng)
    same(runtime("pow", x, exponent), oracle("pow", x, exponent), x, f"pow {exponent}")


@functools.cache
def of_the_oracle() -> dict[tuple[str, float], Array]:
    return {case: oracle(case[0], floats(0, STEP), case[1]) for case in CASES}


COMPILERS = {
    "without optimization": ["cc", "-std=c11", "-O0", "-ffp-contract=off"],
    "of gcc, wide vectors": ["gcc", "-std=gnu11", "-O3", "-ffp-contract=off", "-march=x86-64-v3"],
    "of clang": ["clang-19", "-std=c11", "-O2"],
    "of clang, wide vectors": ["clang-19", "-std=gnu11", "-O3", "-march=x86-64-v3"],
    "of tcc": ["tcc", "-std=c11"],
    "of C++": ["g++", "-x", "c++", "-O2", "-ffp-contract=off"],
    "one by one": ["cc", "-std=c99", "-Os", "-DBNN_LANES=1"],
    "AArch64": ["aarch64-linux-gnu-gcc", "-std=c11", "-O2", "-static"],
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "AArch64" else []) for kind in COMPILERS]
)
def test_compilers_agree(kind: str, tmp_path: Path) -> None:
    """With fused multiply-adds at hand (x86-64-v3, AArch64), and with none."""
    compiler = COMPILERS[kind]
    emulator = ["qemu-aarch64"] if kind == "AArch64" else []
    missing = [tool for tool in (compiler[0], *emulator) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if "-march=x86-64-v3" in compiler and "avx2 " not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("this processor has no AVX2")
    path = program(tmp_path, compiler)
    x = floats(0, STEP)
    for (name, exponent), expected in of_the_oracle().items():
        command = [*emulator, path, name, repr(float(np.float32(exponent))), str(STEP)]
        done = subprocess.run(command, check=True, capture_output=True)
        same(np.frombuffer(done.stdout, np.float32), expected, x, f"{name} {exponent}, {kind}")
