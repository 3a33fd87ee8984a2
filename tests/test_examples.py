# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/ in Python, and the one of the README, as users start them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

import bnn
from docs.blocks import missing

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# Of each program: what it needs, what it writes, and its last line; where it trains, most pictures are right.
RIGHT = r"[6-9]\d\.\d%"
PROGRAMS: list[tuple[str, str, set[str], str]] = [
    ("events", "", set(), r"a recording of 920 events: its class is final after .*"),
    ("score_many", "pyarrow PIL click sklearn", set(), r"1,797 pictures, each scored once and in order; .*"),
    ("larq_digits", "larq sklearn", {"larq_digits.bnn"}, rf".*the classes of Keras in 300 of 300 pictures, {RIGHT} .*"),
    ("own_layer", "larq sklearn", {"own_layer.keras"}, rf"XnorConv2D runs as bconv2d, .*; {RIGHT} of 300 .*"),
    ("resnet", "larq sklearn", set(), rf"four sums .*: 1,843,200 floats equal .*; {RIGHT} of 300 .*"),
    ("spikes", "tensorflow sklearn", {"spikes.snn"}, r"100 pictures in .*; (9\d|100)% have .*, [6-9]\d% are right"),
    ("pytorch", "torch onnxscript sklearn", {"pytorch.bnn"}, rf".*; (99.\d|100.0)% of .*, {RIGHT} are right"),
]
FAST = ("events", "score_many")
CASES = [pytest.param(*case, id=case[0], marks=() if case[0] in FAST else pytest.mark.slow) for case in PROGRAMS]


def skip_without(needed: str) -> None:
    if absent := missing(needed):
        pytest.skip(f"not installed: {', '.join(absent)}")


def test_hello(tmp_path: Path) -> None:
    """A picture and its class, by NumPy and the runtime alone."""
    alone = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", alone, str(EXAMPLES / "hello.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    *rows, _, answer, modules = done.stdout.splitlines()
    assert [len(row) for row in rows] == [16] * 8 and rows[1] == "    ++####++    "
    assert answer.startswith("class 7, ")
    assert not {"tensorflow", "torch", "onnx", "PIL", "click"} & {*modules.split()}


@pytest.mark.parametrize(("name", "needed", "written", "last"), CASES)
def test_a_program(name: str, needed: str, written: set[str], last: str, tmp_path: Path) -> None:
    """In a folder of its own, where nothing is set for TensorFlow; it compares its results itself."""
    skip_without(needed)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(last, done.stdout.splitlines()[-1]), done.stdout
    assert {path.name for path in tmp_path.iterdir()} == written
    if name == "larq_digits":
        assert (bnn.load(tmp_path / "larq_digits.bnn").labels or ())[7] == "seven"


def test_the_server(tmp_path: Path) -> None:
    """Forty pictures from eight threads, and what is wrong: a damaged picture, nothing, a body that is too long."""
    skip_without("fastapi uvicorn click PIL")
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    pictures = [io.BytesIO() for _ in pixels]
    for picture, file in zip(pixels, pictures, strict=True):
        Image.fromarray(picture).save(file, "png")
    sent = [file.getvalue() for file in pictures]
    model = bnn.load(EXAMPLES / "digits.bnn")
    assert model.labels and model.preprocessing
    inputs = model.preprocessing.apply(pixels[..., None])
    assert all(np.array_equal(bnn.read_picture(model, data)[0], x) for data, x in zip(sent, inputs, strict=True))
    scores = model(inputs)
    expected = [(200, {"class": model.labels[row.argmax()], "score": float(row.max())}) for row in scores]

    command = [sys.executable, str(EXAMPLES / "server.py"), "0"]  # 0: a free port, which it names
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr
            (url,) = next(filter(None, (re.findall(r"running on (http://\S+)", line) for line in server.stderr)))

            def ask(data: bytes) -> tuple[int, Any]:
                try:
                    with urlopen(url, data=data, timeout=60) as answer:
                        return answer.status, json.load(answer)
                except HTTPError as error:
                    return error.code, json.load(error)["detail"]

            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(ask, sent))
            assert answers == expected
            assert len({answer["class"] for _, answer in answers}) > 1
            status, text = ask(sent[0][:60])
            assert status == 400 and text.startswith("picture: damaged image: ")
            assert ask(b"hello") == (
                400,
                "picture: not an image that Pillow can read, and not .npy or .npz; if it is a picture, save it again",
            )
            status, text = ask(bytes(2**20 + 1))
            assert status == 413 and "at most 1,048,576 bytes" in text
            assert ask(sent[1]) == expected[1]
        finally:
            server.terminate()


def test_the_list() -> None:
    """Each program has a row in examples/README.md, and each file goes into the source distribution."""
    listed = set(
        re.findall(r"^\| \[[^]]*\]\(([^)]*)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"), flags=re.M)
    )
    files = {path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    programs = {path.relative_to(EXAMPLES).as_posix() for path in files if path.suffix in (".py", ".c", ".ino")}
    assert listed == programs
    patterns = re.findall(
        r"^recursive-include examples (.*)$", (ROOT / "MANIFEST.in").read_text(encoding="utf-8"), flags=re.M
    )
    assert not [path for path in files if not any(fnmatch(path.name, each) for each in patterns[0].split())]


def test_the_readme() -> None:
    """Short, with code before its 40th line, and with a way to every page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, example = re.findall(r"(.*?)```python\n(.*?)```", readme, flags=re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "seven\n" and before.count("\n") < 40 and len(readme.split()) <= 900
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r"\]\(([^)#]*)", readme))
