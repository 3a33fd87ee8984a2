# SPDX-License-Identifier: Apache-2.0
"""The command: it compiles and verifies .tflite files in a process of its own, without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn.cli import main

from .build import Net
from .test_larq import CONV, network, signs

pytest.importorskip("click")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RUN = "import sys; sys.path.insert(0, sys.argv[1]); from bnn.cli import main; sys.exit(main(sys.argv[2:]))"


@pytest.fixture
def folder(rng: np.random.Generator, tmp_path: Path) -> Path:
    """With a file, and a package tensorflow that cannot be imported."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported TensorFlow')\n")
    (tmp_path / "net.tflite").write_bytes(network(rng, (5, 6, 32), signs(rng, 7, 3, 3, 32), False, CONV).to_bytes())
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(folder), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_compile_and_verify(folder: Path) -> None:
    done = run(folder, "compile", "net.tflite", "-o", "net.bnn", "--json")
    assert done.returncode == 0, done.stderr
    assert [layer["kind"] for layer in json.loads(done.stdout)["layers"]] == ["float", "binary"]
    assert "reading net.tflite" in done.stderr or not done.stderr
    done = run(folder, "verify", "net.tflite", "net.bnn", "--random", "8")
    assert done.returncode == 0 and "\nEQUAL: all bits" in done.stdout, done.stdout + done.stderr
    net = Net()
    net.op("RELU", [net.input(5, 6, 32)], 1, 5, 6, 32)
    (folder / "other.tflite").write_bytes(net.to_bytes())
    done = run(folder, "verify", "other.tflite", "net.bnn")
    assert done.returncode == 2 and "was not compiled from this TensorFlow Lite model" in done.stderr


def test_errors(folder: Path) -> None:
    (folder / "damaged.TFLITE").write_bytes((folder / "net.tflite").read_bytes()[:200])
    done = run(folder, "compile", "damaged.TFLITE")
    assert done.returncode == 2 and "damaged.TFLITE: damaged" in done.stderr and not done.stdout
    done = run(folder, "compile", "net.tflite", "--input-shape", "3,3,3")
    assert done.returncode == 2 and "leave out --input-shape" in done.stderr
    done = run(folder, "compile", "net.tflite", "--max-memory", "1M")
    assert done.returncode == 2 and "memory" in done.stderr
    assert not (folder / "damaged.bnn").exists() and not (folder / "net.bnn").exists()


def test_what_eight_bits_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file keeps scales and zero points as TensorFlow Lite gives them; errors say where they are."""
    monkeypatch.chdir(tmp_path)
    net, numbers = Net(), np.arange(-8, 8, dtype=np.int8).reshape(1, 4, 4, 1)
    net.op("TANH", [net.input(4, 4, 1, dtype="INT8", scale=(0.3, -3))], 1, 4, 4, 1, scale=(1 / 128, 0))
    Path("net.tflite").write_bytes(net.to_bytes())
    model = bnn.compile("net.tflite")
    tf = pytest.importorskip("tensorflow")
    interpreter = tf.lite.Interpreter("net.tflite")
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert len(model.metadata) == 4
    for name, end in zip((*model.input_names, *model.output_names), ends, strict=True):
        found = np.float32(model.metadata[f"{name}.scale"]), int(model.metadata[f"{name}.zero_point"])
        assert found == end["quantization"], name

    bnn.emit_c(model, "c", name="net")
    for file in ("c/net.h", "c/README.md"):
        said = Path(file).read_text()
        assert "; a number q stands for 0.3 * (q + 3)" in said
        assert "; a number q stands for 0.0078125 * (q - 0)" in said
    metadata = {**model.metadata, f"{model.input_names[0]}.scale": "*/ int bad;"}
    bnn.emit_c(bnn.compile("net.tflite", metadata=metadata), "other", name="net")
    assert "stands for" in Path("other/net.h").read_text() and "bad" not in Path("other/net.h").read_text()
    classes = Net()
    softmax = {"table": "SoftmaxOptions", "Beta": 1.0, "scale": (1 / 256, -128)}
    classes.op("SOFTMAX", [classes.input(3, dtype="INT8", scale=(0.3, -3))], 1, 3, **softmax)
    Path("classes.tflite").write_bytes(classes.to_bytes())
    with pytest.raises(
        bnn.UnsupportedOpError, match="the softmax of this network is of bytes, .* use 'values', or 'class'"
    ):
        bnn.emit_c(bnn.compile("classes.tflite"), "logits", name="net", output="logits")

    model.save("net.bnn")
    np.save("floats.npy", numbers.astype(np.float32))
    Path("one.png").write_bytes((EXAMPLES / "seven.png").read_bytes())
    where = "of a .tflite file, round(x / scale) + zero point (bnn inspect shows both)"
    for arguments, said in (
        ("run net.bnn floats.npy", f"give a .npy file of int8: {where}"),
        ("run net.bnn one.png --resize", "convert the .tflite file with inference_input_type=tf.float32 or tf.uint8"),
        (
            "compile net.tflite --preprocess tf -o a.bnn",
            "an input of int8, expected one input of float32 or uint8; lea",
        ),
        ("compile net.tflite --calibrate floats.npy -o a.bnn", where),
        (f"verify net.tflite {EXAMPLES / 'digits.bnn'}", "whose inputs have another type; compile the model, or give"),
        ("snn compile net.tflite --simulator norse", "is not a NIR file; a ReLU network can be converted: bnn snn con"),
        ("compile one.tflite", "expected b'TFL3'; give the file that TensorFlow Lite's or Larq Compute Engine's"),
    ):
        Path("one.tflite").write_bytes(b"x" * 99)
        assert main(arguments.split()) == 2
        assert said in capsys.readouterr().err, arguments
    with pytest.raises(bnn.InputError, match="convert the .tflite file with inference_input_type"):
        bnn.read_picture(model, "one.png")


def test_compiling_imports_only_what_it_needs(folder: Path) -> None:
    """Importing bnn imports neither package; compiling a .tflite file no framework."""
    code = (
        "import sys, bnn; loaded = {'tflite', 'flatbuffers'} & {*sys.modules}; "
        "bnn.compile('net.tflite'); print(loaded, {'tensorflow', 'keras', 'larq'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "set() set()", done.stderr


def test_dump(folder: Path) -> None:
    texts: list[str] = []
    bnn.compile(folder / "net.tflite", dump_after="import", dump=texts.append)
    assert len(texts) == 1 and "conv2d" in texts[0]
