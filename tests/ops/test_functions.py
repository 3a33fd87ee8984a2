# SPDX-License-Identifier: Apache-2.0
"""exp, tanh, erf, erfc, log1p, pow and what is made of them: how accurate they are, and that no compiler, processor or
emulator gives other bytes than the oracle."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir.graph import Node
from bnn.ir.ops import OPS, PowAttrs, elementwise, functions, input_node, make
from bnn.runtime import Model, build
from op_graphs import plan

ROOT = Path(__file__).resolve().parents[2]
CURVES = ["exp", "tanh", "erf", "erfc", "log1p"]
MADE = ["sigmoid", "elu"]
# Those that layers use, both kinds of whole ones, and the ends of the floats.
EXPONENTS = [
    -1.5, -1.0, -0.5, 0.5, 1.0, 2.0, 2.5, 3.0, -2.0, 7.0, 1 / 3, 1e-3, -33.0, 1e6, 2.0**23 + 1, 2.0**24 - 1, -3e38,
]  # fmt: skip
SPECIAL = [0.0, -0.0, 1e-45, np.inf, -np.inf, np.nan]
CASES = [*((name, 1.0) for name in CURVES), *(("pow", exponent) for exponent in EXPONENTS)]
STEP = 2**15  # every such float is compared byte by byte
EDGES = np.float32([
    0, 2.0**-149, 2.0**-126, 2.0**-25, 0.46875, 0.5, 0.84375, 1, 2, 3, 3.9, 4, 9, 10, 10.06, 10.125, 87.3, 88.72, 89,
    103.9, 104, 2.0**24, 2.0**127, 3.4028235e38, np.inf, np.nan,
])  # fmt: skip

reference: dict[str, Callable[..., Array]] = {
    name: getattr(elementwise if name in MADE else functions, name) for name in (*CURVES, *MADE, "pow")
}


def floats(first: int, step: int) -> Array:
    """Every step-th float, by its bits."""
    return np.arange(first, 2**32, step, np.uint64).astype(np.uint32).view(np.float32)


def oracle(name: str, x: Array, exponent: float = 1.0) -> Array:
    with np.errstate(all="ignore"):
        return reference[name](x, exponent) if name == "pow" else reference[name](x)


def same(found: Array, expected: Array, x: Array, what: str) -> None:
    """To the byte."""
    differ = found.view(np.uint32) != expected.view(np.uint32)
    assert not differ.any(), f"{what}: of {x[differ][:5]} {found[differ][:5]}, expected {expected[differ][:5]}"


def program(folder: Path, compiler: Sequence[str]) -> Path:
    path = folder / "functions"
    files = ["tests/ops/functions.c", "csrc/mcu/functions.c"]
    command = [*compiler, *build.INCLUDE_FLAGS, *files, "-lm", "-o", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("functions"), [*shlex.split(os.environ.get("CC", "cc")), *build.FLAGS])


# -- against the true value -------------------------------------------------------------------------------------------


def largest_error(path: Path, name: str, exponent: float, first: int, step: int) -> float:
    """In units in the last place."""
    command = [path, "error", name, repr(exponent), str(first), str(step)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    error, at, tried = done.stdout.split()
    assert int(tried) == -(-(2**32 - first) // step)
    print(f"{name} {exponent}: {error} units in the last place at {at}, of {tried} floats")
    return float(error)


@pytest.mark.parametrize(("name", "exponent"), CASES)
def test_accurate(optimized: Path, name: str, exponent: float, rng: np.random.Generator) -> None:
    step = 2**12
    assert largest_error(optimized, name, exponent, int(rng.integers(step)), step) < 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exponent"), CASES[: len(CURVES) + 2])
def test_accurate_everywhere(optimized: Path, name: str, exponent: float, rng: np.random.Generator) -> None:
    """Every sixteenth float; BNN_TEST_STEP=1 leaves out none, which takes some minutes for each function."""
    step = int(os.environ.get("BNN_TEST_STEP", "16"))
    assert largest_error(optimized, name, exponent, int(rng.integers(step)), step) < 1


def test_the_true_value_is_told_from_its_neighbours(tmp_path: Path) -> None:
    """The measure of these tests, with a coefficient that is a thousandth off."""
    text = (ROOT / "csrc/mcu/functions.c").read_text(encoding="utf-8")
    wrong = text.replace("1.42860677e-06f - xl", "1.43e-06f - xl")
    assert wrong != text
    (tmp_path / "wrong.c").write_text(wrong, encoding="utf-8")
    command = [*shlex.split(os.environ.get("CC", "cc")), *build.FLAGS, *build.INCLUDE_FLAGS, "tests/ops/functions.c"]
    subprocess.run([*command, tmp_path / "wrong.c", "-lm", "-o", tmp_path / "wrong"], cwd=ROOT, check=True)
    assert largest_error(tmp_path / "wrong", "exp", 1.0, 77, 2**12) > 1


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0, 3.0])
def test_powers_that_are_floats_are_exact(exponent: float) -> None:
    x = np.arange(1, 256, dtype=np.float32)
    x = x**2 if exponent == 0.5 else 2.0 ** np.arange(-100, 100).astype(np.float32) if exponent < 0 else x
    same(functions.pow(x, exponent), (x.astype(np.float64) ** exponent).astype(np.float32), x, f"pow {exponent}")


def test_whole_results() -> None:
    """What is known without arithmetic."""
    x = np.float32([0, -0.0, np.inf, -np.inf])
    for name, values in {
        "exp": [1, 1, np.inf, 0], "tanh": [0, -0.0, 1, -1], "erf": [0, -0.0, 1, -1], "erfc": [1, 1, 0, 2],
        "log1p": [0, -0.0, np.inf, np.nan], "sigmoid": [0.5, 0.5, 1, 0], "elu": [0, -0.0, np.inf, -1],
    }.items():  # fmt: skip
        same(oracle(name, x), np.float32(values), x, name)
    for name in (*CURVES, *MADE):
        bits = oracle(name, np.uint32([0xFFC00001, 0x7F800001]).view(np.float32)).view(np.uint32)
        assert bits.tolist() == [0x7FC00000] * 2, name


@pytest.mark.parametrize("exponent", [*SPECIAL, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 2.0**24, 2.0**23 + 1, 3e38])
def test_powers_as_in_annex_f(exponent: float) -> None:
    """NumPy calls the C library here, where ** takes a root; the NaN is ours."""
    x = np.float32([0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3e38, -3e38, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        expected = np.power(x, np.full_like(x, exponent))
    found = functions.pow(x, exponent)
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


@pytest.mark.parametrize("name", [*CURVES, *MADE])
def test_runtime_equals_the_oracle(name: str, rng: np.random.Generator) -> None:
    x = data(rng)
    same(run(lambda node: make(name, node), x), oracle(name, x), x, name)


@pytest.mark.parametrize("exponent", [*EXPONENTS, *SPECIAL], ids=str)
def test_powers_of_the_runtime_equal_the_oracle(exponent: float, rng: np.random.Generator) -> None:
    x = data(rng)
    attrs = PowAttrs(float(np.float32(exponent)))
    same(run(lambda node: make("pow", node, attrs=attrs), x), oracle("pow", x, exponent), x, f"pow {exponent}")


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 10, 64, 1000])
def test_softmax_of_the_runtime_equals_the_oracle(channels: int, rng: np.random.Generator) -> None:
    x = (rng.normal(0, 1, (200, channels)) * 10.0 ** rng.integers(-2, 3, (200, 1))).astype(np.float32)
    x[0, -1], x[1, 0], x[2], x[3, 0] = np.nan, np.inf, -np.inf, -np.inf
    node = input_node("x", (channels,))
    found = Model.from_bytes(encode(plan([node], [make("softmax", node)])))(x)
    same(found, OPS["softmax"].reference(x, a=OPS["softmax"].attrs()), x, "softmax")


def run(op: Callable[[Node], Node], x: Array) -> Array:
    """In rows of 61, which no block divides."""
    rows = np.resize(x, (-(-len(x) // 61), 61))
    node = input_node("x", (61,))
    return Model.from_bytes(encode(plan([node], [op(node)])))(rows).reshape(-1)[: len(x)]


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


@pytest.mark.parametrize("kind", COMPILERS)
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
    for name, exponent in (*CASES, *((name, 1.0) for name in MADE)):
        command = [*emulator, path, "values", name, repr(float(np.float32(exponent))), str(STEP)]
        done = subprocess.run(command, check=True, capture_output=True)
        same(np.frombuffer(done.stdout, np.float32), oracle(name, x, exponent), x, f"{name} {exponent}, {kind}")


# -- what the bounds of rounding use ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CURVES)
def test_of_float64_they_are_those_of_python(name: str) -> None:
    x = np.array([[0.25, 1.5], [0.0, 3.0]])
    found = reference[name](x)
    assert found.dtype == np.float64 and found.shape == x.shape
    np.testing.assert_allclose(found, np.vectorize(getattr(math, name))(x), rtol=1e-15)
