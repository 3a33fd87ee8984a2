# SPDX-License-Identifier: Apache-2.0
"""`import bnn` is quick, and brings in nothing that only compiling or the command line needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bnn

ROOT = Path(bnn.__file__).resolve().parents[1]


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_heavy_packages_stay_out() -> None:
    loaded = _run("import sys, bnn; print(*sys.modules)").split()
    heavy = {"tensorflow", "keras", "tf_keras", "larq", "click", "rich", "PIL", "h5py", "matplotlib", "scipy"}
    assert not heavy & set(loaded)
    assert not [name for name in loaded if name.startswith(("bnn.passes", "bnn.importers", "bnn.emit", "bnn.cli"))]


def test_it_is_quick() -> None:
    """In processor time, which load does not change, and beside what importing NumPy takes in the same process: a fifth
    of it; the best of five."""
    code = (
        "from time import process_time as now\nbegin = now()\nimport numpy\nmiddle = now()\nimport bnn\n"
        "print((now() - middle) / (middle - begin))"
    )
    assert min(float(_run(code)) for _ in range(5)) < 0.7


def test_without_the_extension_it_says_what_to_do() -> None:
    code = (
        "import sys\nsys.modules['bnn._native'] = None\n"
        "try:\n    import bnn\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    printed = _run(code)
    assert printed.startswith("SetupError") and "pip install" in printed


def test_public_names() -> None:
    assert bnn.__version__.count(".") == 2
    for name in bnn.__all__:
        assert hasattr(bnn, name), name
    for name in ("CompileError", "ModelFormatError", "UnsupportedOpError"):
        assert issubclass(getattr(bnn, name), bnn.BnnError)


@pytest.mark.parametrize("builtin", [ValueError, TypeError, OSError, RuntimeError, NotImplementedError])
def test_errors_are_also_builtins(builtin: type[Exception]) -> None:
    from bnn import errors

    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.BnnError)]
    assert any(issubclass(kind, builtin) for kind in kinds)
