# SPDX-License-Identifier: Apache-2.0
"""What reading a model leaves behind: no file, and nothing sent.  strace sees every call that could.

Each importer compiles and verifies a valid model in a process of its own.  What counts comes after the framework has
been imported; ONNX Runtime, whose import would look for a host and write below the user's home, may not do so either.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seed import some

ROOT = Path(__file__).resolve().parents[2]
MARK = "/the framework is imported"
# Calls that make or change files, talk to others, or start programs.  Of openat, only those that may write count.
CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,unlink,unlinkat,rename,"
    "renameat,renameat2,rmdir,truncate,chmod,fchmodat,chown,fchownat,utimensat,setxattr,socket,socketpair,connect,bind,"
    "sendto,sendmsg,execve,execveat"
)
_OPENS = re.compile(r"\bopen(at2?)?\(")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")
# Devices, and what the kernel says of the process itself, keep nothing.
_HARMLESS = re.compile(r'"/dev/(null|tty|urandom)"|"/proc/(self|\d+)/')

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: apt install strace")


def keras_layers(keras: object) -> object:
    layers = keras.layers  # type: ignore[attr-defined]
    model = keras.Sequential(  # type: ignore[attr-defined]
        [layers.InputLayer((6, 6, 2)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(),
         layers.Flatten(), layers.Dense(3)]
    )  # fmt: skip
    return model


def tf_keras_file(path: Path) -> Path:
    keras = pytest.importorskip("tf_keras")
    keras_layers(keras).save(path)  # type: ignore[attr-defined]
    return path


def keras3_file(path: Path) -> Path:
    keras = pytest.importorskip("keras")
    if not keras.__version__.startswith("3"):
        pytest.skip("the package keras is Keras 2, that of TensorFlow 2.15")
    keras_layers(keras).save(path)  # type: ignore[attr-defined]
    return path


def saved_model(path: Path) -> Path:
    keras = pytest.importorskip("tf_keras")
    keras_layers(keras).export(path)  # type: ignore[attr-defined]
    return path


def onnx_file(path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from .onnx.small import model, node

    w = np.ones((3, 4, 2, 2), np.float32)
    nodes = [node("Sign", "w", "s"), node("Sign", "x", "a"), node("Conv", "a s", "c"), node("Relu", "c")]
    onnx.save(model(nodes, {"w": w}), path)
    return path


def tflite_file(path: Path) -> Path:
    pytest.importorskip("tflite")
    from .tflite.test_hostile import small

    path.write_bytes(small(np.random.default_rng(0)).to_bytes())
    return path


def nir_file(path: Path) -> Path:
    pytest.importorskip("h5py")
    from snn.nir_graphs import small, write

    return write(path, small())


@dataclass(frozen=True)
class Importer:
    """``files``: names with what makes them; ``imports``: the framework's; ``silent``: the import must be, too."""

    files: dict[str, Callable[[Path], Path]]
    imports: str
    silent: bool = False
    action: str = """
for path in sys.argv[1:]:
    compiled = bnn.compile(path)
    bnn.verify(path, compiled, np.zeros((2, *compiled.input_shapes[0]), compiled.input_dtypes[0]))
"""


NIR = "import bnn.snn\nbnn.snn.compile(sys.argv[1], simulator='norse')"
IMPORTERS = {
    "tensorflow": Importer(
        {"a.keras": tf_keras_file, "a.h5": tf_keras_file, "b.keras": keras3_file, "folder": saved_model},
        "import tensorflow, tf_keras, keras, h5py",
    ),
    "onnx": Importer({"a.onnx": onnx_file}, "from bnn.importers.onnx.run import packages\npackages()", silent=True),
    "tflite": Importer({"a.tflite": tflite_file}, "import tflite, flatbuffers"),
    "nir": Importer({"a.nir": nir_file}, "import h5py", action=NIR),
}


def traces(folder: Path, imports: str, action: str, *paths: Path) -> tuple[list[str], list[str]]:
    """Calls that leave something behind: during the import, and after it."""
    home, log = folder / "home", folder / "strace.txt"
    home.mkdir()
    program = f"import os, sys\nimport numpy as np\nimport bnn\n{imports}\nos.access({MARK!r}, 0)\n{action}\n"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8",
        "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "200", "-e", f"trace={CALLS},access", "-o", str(log)]
    done = subprocess.run(
        [*strace, sys.executable, "-B", "-c", program, *map(str, paths)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    (mark,) = (i for i, line in enumerate(lines) if f'access("{MARK}' in line)
    before, after = (counted(part) for part in (lines[1:mark], lines[mark + 1 :]))
    left = [str(p) for p in home.rglob("*") if not any(f'"{p}"' in line for line in before)]
    return before, after + [f"left: {path}" for path in left]


def counted(lines: list[str]) -> list[str]:
    found = [line for line in lines if " = -1 E" not in line and " access(" not in line and not _HARMLESS.search(line)]
    return [line for line in found if "(" in line and (not _OPENS.search(line) or _WRITES.search(line))]


@pytest.mark.drawn
@pytest.mark.parametrize("name", some([*IMPORTERS]))
def test_nothing_is_left_behind(name: str, tmp_path: Path) -> None:
    importer = IMPORTERS[name]
    paths = [make(tmp_path / file) for file, make in importer.files.items()]
    before, after = traces(tmp_path, importer.imports, importer.action, *paths)
    assert not after
    assert not (before and importer.silent)


def test_what_would_be_seen(tmp_path: Path) -> None:
    """The test itself: a file, a folder, a socket and a program."""
    action = (
        "import socket, subprocess\nopen('a', 'w').close()\nos.mkdir('b')\nsocket.socket()\n"
        "subprocess.run([sys.executable, '-c', ''])"
    )
    _, after = traces(tmp_path, "", action)
    text = "\n".join(after)
    assert all(found in text for found in ('"a", O_WRONLY|O_CREAT', 'mkdir("b"', "socket(", "execve(", "home/a"))
