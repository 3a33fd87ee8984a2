# SPDX-License-Identifier: Apache-2.0
"""Make a page on which a person draws a digit and sees a compiled network read it, layer by layer.

    python tools/web.py runs/demo-digits/model.bnn
    python tools/web.py runs/demo-digits/model.bnn --out FOLDER

The network takes the 8 x 8 images of the data set `digits`, as float32.  Writes index.html, which needs no other file
and no network access, and the parts for pages of one's own: bnn.js, bnn-simd128.wasm, bnn.wasm (no SIMD), model.bnn.
Needs clang, lld and wasi-libc: on Debian, the packages clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32.
"""

from __future__ import annotations

import base64
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

import bnn
from bnn._text import page_json
from bnn.runtime.files import replacing
from training import UserError, console, datasets

ROOT = Path(__file__).resolve().parents[1]
PARTS = ROOT / "tools/browser"
BUILD = runpy.run_path(str(ROOT / "bnn/runtime/build.py"))  # not imported: an installed package has no C files
SOURCES = BUILD["sources"]("core", "kernels")
PACKAGES = ("clang-19", "lld-19", "wasi-libc", "libclang-rt-19-dev-wasm32")
COMPILER = (
    "clang-19",
    "--target=wasm32-wasi",
    "--sysroot=/usr",
    "-std=c11",
    "-O2",
    "-ffp-contract=off",
    *BUILD["INCLUDE_FLAGS"],
)
# No main, and nothing imported: a stack that overflows reaches address 0, and traps.
LINK = ("-mexec-model=reactor", "-nostartfiles", "-Wl,--no-entry", "-Wl,--stack-first", "-Wl,--strip-all")
_IMPORT = 'import { Network } from "./bnn.js";\n'


class WebError(UserError):
    """The runtime cannot be built, or the page is not for this network."""


def build_runtime(*, simd: bool) -> bytes:
    """The runtime and runtime.c as a WebAssembly module without imports.  Raises WebError without a compiler for it."""
    if shutil.which(COMPILER[0]) is None:
        raise WebError(f"{COMPILER[0]} is not installed; on Debian: apt-get install {' '.join(PACKAGES)}")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "bnn.wasm"
        files = [str(PARTS / "runtime.c"), *SOURCES]
        command = [*COMPILER, *(["-msimd128"] if simd else []), *LINK, *files, "-o", str(module)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise WebError(f"the runtime cannot be built ({', '.join(PACKAGES)}?): {done.stderr.strip()[-1000:]}")
        return module.read_bytes()


def check(model: bnn.Model, data: datasets.Dataset) -> None:
    """Raises WebError unless the network takes images of the data set as floats and gives a probability per class."""
    found = f"{model.input_shapes} {model.input_dtypes} -> {model.output_shapes}"
    classes = len(data.class_names)
    if [*model.input_shapes] != [data.input_shape] or [*model.output_shapes] != [(classes,)]:
        raise WebError(f"the network is {found}; expected one input {data.input_shape} and one output ({classes},)")
    if [np.dtype(d) for d in model.input_dtypes] != [np.dtype(np.float32)]:
        raise WebError(f"the network is {found}; expected float32 images: compile it without an input type")
    if model.ops[-1].op != "softmax":
        raise WebError(f"the network ends in {model.ops[-1].op}; expected softmax: the page shows probabilities")


def page(file: bytes, simd: bytes, plain: bytes, data: datasets.Dataset) -> str:
    """The text of index.html; its examples are the first test image of each class."""
    labels = data.test.labels
    examples = [data.test.images[np.flatnonzero(labels == k)[0]].reshape(-1) for k in range(len(data.class_names))]
    values = {
        "simd": base64.b64encode(simd).decode("ascii"),
        "plain": base64.b64encode(plain).decode("ascii"),
        "file": base64.b64encode(file).decode("ascii"),
        "classes": data.class_names,
        "examples": [example.tolist() for example in examples],
    }
    text = {name: (PARTS / name).read_text(encoding="utf-8") for name in ("page.html", "page.js", "bnn.js")}
    # An import of a file would need a server: what is imported takes the place of its import.
    script = text["page.js"].replace(_IMPORT, text["bnn.js"]).replace("/*DATA*/null", page_json(values))
    return text["page.html"].replace("/*SCRIPT*/", script)


def write(model: Path, out: Path) -> None:
    """Write the files for this .bnn file to a folder, each whole."""
    data = datasets.load("digits")
    with bnn.load(model) as opened:
        check(opened, data)
        file = opened.to_bytes()
    simd, plain = build_runtime(simd=True), build_runtime(simd=False)
    files = {
        "index.html": page(file, simd, plain, data).encode("utf-8"),
        "bnn.js": (PARTS / "bnn.js").read_bytes(),
        "bnn-simd128.wasm": simd,
        "bnn.wasm": plain,
        "model.bnn": file,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(str(out / name)) as written:
            written.write(content)


@click.command(help=(__doc__ or "").split("\n", 1)[0])
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/web"),
    show_default=True,
    help="Folder for the page and its parts.",
)
def _command(model: Path, out: Path) -> None:
    print("compiling two WebAssembly modules: a minute or two", file=sys.stderr)
    write(model, out)
    for path in sorted(out.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)
    print(out / "index.html")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (wrong use or bad input) or 130 (interrupted)."""
    console.run(_command, "web", arguments)


if __name__ == "__main__":
    main()
