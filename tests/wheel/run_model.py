# SPDX-License-Identifier: Apache-2.0
"""Run a model where only the wheel is installed: `python run_model.py NET.bnn EXPECTED.npz`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import bnn


def emit(model: bnn.Model) -> None:
    """The C sources that emitted networks consist of are in the wheel."""
    bnn.emit_c(model, "emitted", name="net")
    if compiler := shutil.which("cc"):
        files = [f"emitted/{name}" for name in ("main.c", "net.c", "net_kernels.c")]
        subprocess.run([compiler, *files, "-lm", "-o", "emitted/net"], check=True)
        subprocess.run(["emitted/net"], check=True)


def main(model_path: str, expected_path: str) -> None:
    expected = np.load(expected_path)
    model = bnn.load(model_path)
    y = model(expected["x"])
    np.testing.assert_allclose(y, expected["y"], rtol=1e-5, atol=1e-6)
    assert (y.argmax(1) == expected["y"].argmax(1)).all()
    absent = sorted({"tensorflow", "click", "rich"} & set(sys.modules))
    assert not absent, f"running a model imported {absent}"
    Path("model.keras").touch()
    try:
        bnn.compile("model.keras")
    except bnn.BnnError as error:
        assert "tensorflow" in str(error).lower(), error
    else:
        raise AssertionError("compiling without TensorFlow must fail")
    emit(model)
    print(f"{len(y)} images equal Keras' on bnn {bnn.__version__}, NumPy {np.__version__}, kernels {model.kernels}")


if __name__ == "__main__":
    main(*sys.argv[1:])
