# SPDX-License-Identifier: Apache-2.0
"""The event engine under AddressSanitizer and UndefinedBehaviorSanitizer; driver.c does the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import op_graphs
from bnn.file.write import encode
from events import handmade
from events.spiking import random_model, wide_model
from sanitized import Build, call
from seed import numbers, some


@pytest.fixture(scope="module")
def driver(sanitized_build: Build) -> Path:
    return sanitized_build.program("events", [Path("tests/events/driver.c")])


def run_all(rng: np.random.Generator, driver: Path, folder: Path, files: list[bytes]) -> str:
    paths = [folder / f"{k}.bnn" for k in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return call(str(driver), str(int(rng.integers(2**32))), *map(str, paths))


@pytest.mark.drawn
def test_random_networks(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """Frames, pixels, orders, switching, in memory of exactly the size asked for."""
    files = [random_model(rng, binary_input=k % 2 == 1).to_bytes() for k in range(len(numbers(4)))]
    assert run_all(rng, driver, tmp_path, files) == f"{len(files)} models, 0 refused\n"


def test_all_spikes_of_a_pixel_at_once(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """More than are added to the membranes together."""
    assert run_all(rng, driver, tmp_path, [wide_model(rng).to_bytes() for _ in range(3)]) == "3 models, 0 refused\n"


@pytest.mark.drawn
def test_files_that_no_compiler_writes(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    files = some([*handmade.files(handmade.accepted(rng)).values()])
    assert run_all(rng, driver, tmp_path, files) == f"{len(files)} models, 0 refused\n"
    files = some([*handmade.files(handmade.refused(rng)).values()])
    assert run_all(rng, driver, tmp_path, files) == f"{len(files)} models, {len(files)} refused\n"


@pytest.mark.drawn
def test_random_files(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """Any chain of ops is run exactly or refused."""
    files = [encode(op_graphs.network(rng, int(rng.integers(2, 9)))) for _ in numbers(80)]
    files += [encode(op_graphs.one_op(rng, name, op_graphs.BIT_OPS)) for name in op_graphs.BIT_OPS]
    files += [encode(op_graphs.one_op(rng, name, op_graphs.BYTE_OPS)) for name in op_graphs.BYTE_OPS]
    assert run_all(rng, driver, tmp_path, files).startswith(f"{len(files)} models, ")


@pytest.mark.slow
def test_a_trained_network(driver: Path) -> None:
    model = Path(__file__).parents[2] / "examples/digits.bnn"
    assert call(str(driver), "1", str(model)) == "1 models, 0 refused\n"
