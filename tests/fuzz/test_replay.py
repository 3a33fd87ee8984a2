# SPDX-License-Identifier: Apache-2.0
"""What fuzzing begins with and what it once found, run again: each is a status or a result, never a crash."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fuzz import python_targets, run, seeds
from fuzz.json_edits import edited
from fuzz.recipe import Recipe
from sanitized import Build, call
from seed import some

CORPUS = Path(__file__).with_name("corpus")
NEEDED = {
    "nir": ("nir",), "keras": ("tensorflow", "larq"), "hdf5": ("tensorflow", "larq"), "savedmodel": ("tensorflow",),
    "onnx": ("onnx", "onnxruntime"), "tflite": ("tflite",),
}  # fmt: skip


@pytest.fixture(scope="session")
def seed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seeds")


def inputs(kind: str, folder: Path) -> list[Path]:
    """Seeds and corpus; the C targets share theirs."""
    if not (folder / kind).exists():
        seeds.write(kind, folder / kind)
    return [*sorted((folder / kind).iterdir()), *sorted((CORPUS / kind).glob("*"))]


@pytest.mark.drawn
@pytest.mark.parametrize("target", ["load", "run", "events", "calls", "spikes"])
def test_c_targets(target: str, sanitized_build: Build, seed_folder: Path) -> None:
    """Built without clang: the runtime's objects are those of the other sanitizer tests."""
    files = [Path("tests/fuzz", f"{name}.c") for name in (target, "fuzz", "replay")]
    program = sanitized_build.program(f"fuzz-{target}", files)
    paths = some(inputs(run.kind_of(target), seed_folder))
    assert call(str(program), *map(str, paths)) == f"{len(paths)} inputs\n"


@pytest.mark.drawn
@pytest.mark.parametrize("target", python_targets.TARGETS)
def test_python_targets(target: str, seed_folder: Path) -> None:
    for package in NEEDED.get(target, ()):
        pytest.importorskip(package)
    for path in some(inputs(target, seed_folder)):
        print(path)
        python_targets.TARGETS[target](path.read_bytes())


def test_every_target_has_its_share() -> None:
    """Seeds, seconds and executions; the twins of a C target together have the seconds of one."""
    assert set(run.PYTHON_TARGETS) == set(python_targets.TARGETS)
    assert {run.kind_of(target) for target in run.TARGETS} == set(seeds.SEEDS)
    plan = run.shares(run.TARGETS, 60, 10_800_000)
    assert sum(plan[t][0] for t in run.C_TARGETS) == pytest.approx(5 * 60)
    assert {plan[t] for t in run.PYTHON_TARGETS} == {(60.0, 100_000)}
    assert {plan[t][1] for t in run.C_TARGETS} == {1_000_000}
    assert plan["run"][0] == plan["run-memory"][0] == pytest.approx(5 * plan["spikes"][0])
    assert run.shares(["spikes"], 60, 7) == {"spikes": (60.0, 7)}


def test_recipes_change_what_they_edit() -> None:
    """An empty recipe leaves a file as it is; of longer ones, most give another file."""
    value = {"layers": [{"class_name": "Dense", "config": {"units": 3}}, {"class_name": "Flatten", "config": {}}]}
    rng = np.random.default_rng(1)
    assert edited(value, Recipe(b""), [value]) == value
    made = [edited(value, Recipe(rng.bytes(20)), [value]) for _ in range(200)]
    assert len({json.dumps(m, sort_keys=True) for m in made}) > 150
    assert value["layers"][0] == {"class_name": "Dense", "config": {"units": 3}}
