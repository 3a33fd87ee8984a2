# SPDX-License-Identifier: Apache-2.0
"""The event engine under AddressSanitizer and UndefinedBehaviorSanitizer; driver.c does the work."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

import op_graphs
from bnn.errors import UnsupportedOpError
from bnn.file.write import encode
from events import handmade
from events.spiking import populations, random_model, wide_model
from sanitized import Build, call
from seed import numbers, some


@pytest.fixture(scope="module")
def driver(sanitized_build: Build) -> Path:
    return sanitized_build.program("events", [Path("tests/events/driver.c")])


def run_all(rng: np.random.Generator, driver: Path, folder: Path, files: list[bytes]) -> int:
    """How many of the files run, exactly; the others have no event populations."""
    stems = []
    for k, data in enumerate(files):
        with contextlib.suppress(UnsupportedOpError):
            (folder / f"{k}.snn").write_bytes(populations(data))
            (folder / f"{k}.bnn").write_bytes(data)
            stems.append(str(folder / str(k)))
    if stems:
        assert call(str(driver), str(int(rng.integers(2**32))), *stems) == f"{len(stems)} models\n"
    return len(stems)


@pytest.mark.drawn
def test_random_networks(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """Frames, pixels, orders, switching, in memory of exactly the size asked for."""
    files = [random_model(rng, binary_input=k % 2 == 1).to_bytes() for k in range(len(numbers(4)))]
    assert run_all(rng, driver, tmp_path, files) == len(files)


def test_all_spikes_of_a_pixel_at_once(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """More than are added to the membranes together."""
    assert run_all(rng, driver, tmp_path, [wide_model(rng).to_bytes() for _ in range(3)]) == 3


@pytest.mark.drawn
def test_files_that_no_compiler_writes(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    files = some([*handmade.files(handmade.accepted(rng)).values()])
    assert run_all(rng, driver, tmp_path, files) == len(files)


@pytest.mark.drawn
def test_random_files(rng: np.random.Generator, driver: Path, tmp_path: Path) -> None:
    """Any chain of ops is run exactly or refused."""
    files = [encode(op_graphs.network(rng, int(rng.integers(2, 9)))) for _ in numbers(80)]
    files += [encode(op_graphs.one_op(rng, name, op_graphs.BIT_OPS)) for name in op_graphs.BIT_OPS]
    files += [encode(op_graphs.one_op(rng, name, op_graphs.BYTE_OPS)) for name in op_graphs.BYTE_OPS]
    assert 0 < run_all(rng, driver, tmp_path, files) < len(files)


@pytest.mark.slow
def test_a_trained_network(driver: Path, tmp_path: Path) -> None:
    data = (Path(__file__).parents[2] / "examples/digits.bnn").read_bytes()
    assert run_all(np.random.default_rng(1), driver, tmp_path, [data]) == 1
