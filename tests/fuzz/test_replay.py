# SPDX-License-Identifier: Apache-2.0
"""What fuzzing begins with and what it once found, run again: each is a status or a result, never a crash."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fuzz import python_targets, seeds
from sanitized import Build, call

CORPUS = Path(__file__).with_name("corpus")


@pytest.fixture(scope="session")
def seed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seeds")


def inputs(kind: str, folder: Path) -> list[Path]:
    """Seeds and corpus; the C targets share theirs."""
    if not (folder / kind).exists():
        seeds.write(kind, folder / kind)
    return [*sorted((folder / kind).iterdir()), *sorted((CORPUS / kind).glob("*"))]


@pytest.mark.parametrize("target", ["load", "run", "events", "calls", "spikes"])
def test_c_targets(target: str, sanitized_build: Build, seed_folder: Path) -> None:
    """Built without clang: the runtime's objects are those of the other sanitizer tests."""
    files = [Path("tests/fuzz", f"{name}.c") for name in (target, "fuzz", "replay")]
    program = sanitized_build.program(f"fuzz-{target}", files)
    paths = inputs("spikes" if target == "spikes" else "c", seed_folder)
    assert call(str(program), *map(str, paths)) == f"{len(paths)} inputs\n"


@pytest.mark.parametrize("target", ["recordings", "arrays", "nir"])
def test_python_targets(target: str, seed_folder: Path) -> None:
    if target == "nir" and importlib.util.find_spec("nir") is None:
        pytest.skip("nir is not installed: pip install nir")
    for path in inputs(target, seed_folder):
        print(path)
        python_targets.TARGETS[target](path.read_bytes())
