# SPDX-License-Identifier: Apache-2.0
"""The page of web.py in a browser: what a person draws is read, and every value is the runtime's."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
import chromium
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph
from bnn.passes import lower
from built import once
from targets import TARGETS, missing

pytest.importorskip("sklearn")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import web  # noqa: E402
from training import datasets  # noqa: E402

DIGITS = ROOT / "examples/digits.bnn"
READY = "globalThis.bnn !== undefined"
# Of the drawing area, x and y from 0 to 1; those that the network of digits.bnn knows best.
BOW = [(0.5 + 0.17 * math.sin(t), 0.33 - 0.15 * math.cos(t)) for t in np.linspace(-0.6, 2.6, 12)]
TWO = [*BOW, (0.34, 0.8), (0.72, 0.8)]
ZERO = [(0.5 + 0.2 * math.sin(t), 0.5 - 0.32 * math.cos(t)) for t in np.linspace(0, 2 * math.pi, 20)]


@pytest.fixture(scope="module")
def folder(build_root: Path) -> Path:
    if text := missing(TARGETS["wasm32-simd"]):
        pytest.skip(text)
    with redirect_stderr(sys.stdout):
        return once(build_root / "page", lambda out: web.main([str(DIGITS), "--out", str(out)]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.started(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: chromium.Page, folder: Path) -> chromium.Page:
    """index.html, as a file that somebody opened."""
    browser.resize(1100, 900)
    browser.open("about:blank", "true")
    browser.events.clear()
    browser.open((folder / "index.html").as_uri(), READY)
    return browser


def text(page: chromium.Page, name: str) -> str:
    return str(page.run(f"document.getElementById('{name}').textContent"))


def until(page: chromium.Page, script: str) -> None:
    """Wait for what comes with the next pictures."""
    end = time.monotonic() + 20
    while not page.run(script):
        assert time.monotonic() < end, f"never: {script}; the answer is {text(page, 'answer')}"
        time.sleep(0.05)


def on_the_drawing(page: chromium.Page, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    box = page.run("document.getElementById('drawing').getBoundingClientRect().toJSON()")
    left, top, size = box["x"], box["y"], box["width"]
    return [(left + x * size, top + y * size) for x, y in points]


def floats(answer: str) -> Array:
    return np.frombuffer(base64.b64decode(answer), "<f4")


BASE64 = "(array => btoa(String.fromCharCode(...new Uint8Array(array.buffer))))"


@pytest.mark.slow
@pytest.mark.parametrize(("simd", "kernels"), [(True, "simd128, with SIMD"), (False, "flash, without SIMD")])
def test_scores_have_the_bytes_of_the_runtime(page: chromium.Page, simd: bool, kernels: str) -> None:
    if not simd:
        page.run("document.getElementById('simd').click()")
    until(page, f"document.getElementById('kernels').textContent === '{kernels}'")
    images = datasets.to_input(datasets.load("digits").test.images, 16)[:60]
    expected = bnn.load(DIGITS)(images)
    for image, scores in zip(images, expected, strict=True):
        answer = page.run(f"{BASE64}(bnn.recognize({image.ravel().tolist()}))")
        assert floats(answer).tobytes() == scores.tobytes()
        best = int(scores.argmax())
        assert text(page, "answer") == f"{best} {100 * scores[best] + 1e-9:.1f}% sure"
    assert re.fullmatch(r"\d+(\.\d)? µs", text(page, "time"))
    assert page.complaints() == []


@pytest.mark.slow
def test_a_digit_is_drawn_and_read(page: chromium.Page, tmp_path: Path) -> None:
    page.drag(on_the_drawing(page, TWO))
    # Half a digit may be a 2 too; what is whole is shown afresh.
    until(page, "document.querySelectorAll('#layers figure.fresh').length === 7")
    assert text(page, "class") == "2"
    captions = page.run("[...document.querySelectorAll('figcaption')].map(c => c.textContent)")
    assert re.fullmatch(r"conv1 conv2d, 8 × 8 × 32: [\d,]+ of 2,048 bits are \+1", captions[0])
    assert captions[-1] == "probabilities softmax, 10: 10 numbers"
    # A tile of a layer of bits is black and white.
    canvas = "document.querySelector('#layers canvas')"
    pixels = f"{canvas}.getContext('2d').getImageData(0, 0, {canvas}.width, {canvas}.height).data"
    reds = page.run(f"[...new Set({pixels}.filter((_, i) => i % 4 === 0))]")
    assert {0, 255} <= set(reds) and len(reds) == 3  # and the colour between tiles
    page.screenshot(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 20_000
    page.press("Escape")
    until(page, "document.getElementById('answer').textContent === ''")
    page.drag(on_the_drawing(page, ZERO))
    until(page, "document.getElementById('class')?.textContent === '0'")
    page.run("document.getElementById('clear').click()")
    until(page, "document.getElementById('answer').textContent === ''")
    assert page.complaints() == []


@pytest.mark.slow
def test_on_a_phone_a_finger_draws(page: chromium.Page, tmp_path: Path) -> None:
    page.resize(360, 740, mobile=True)
    assert page.run("document.documentElement.scrollWidth") == 360
    page.touch(on_the_drawing(page, TWO))
    until(page, "document.getElementById('class')?.textContent === '2'")
    assert page.run("document.getElementById('answer').getBoundingClientRect().bottom <= 740"), (
        "the answer is not in view"
    )
    page.screenshot(tmp_path / "phone.png")
    assert page.complaints() == []


@pytest.mark.slow
def test_with_the_keyboard_alone(page: chromium.Page) -> None:
    """The test images' buttons can be reached and pressed; every control has a name."""
    page.run("document.querySelectorAll('#examples button')[6].focus()")
    page.press("Enter")
    until(page, "document.getElementById('class')?.textContent === '6'")
    page.run("document.getElementById('clear').focus()")
    page.press("Tab")
    assert page.run("document.activeElement.parentElement.id") == "examples"
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = [n for n in tree if n.get("role", {}).get("value") in ("button", "checkbox", "image", "img", "list")]
    assert len(controls) > 20 and all(n.get("name", {}).get("value") for n in controls)


SHAPES: list[tuple[str, list[tuple[float, float]]]] = [
    ("a dot", [(0.3, 0.7)]),
    ("a line upwards", [(0.5, 0.9), (0.5, 0.1)]),
    ("a line to the side", [(0.1, 0.5), (0.9, 0.5)]),
    ("a two", TWO),
    ("a zero", ZERO),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "points"), SHAPES, ids=[name for name, _ in SHAPES])
def test_drawings_become_images_like_those_of_the_training(
    page: chromium.Page, name: str, points: list[tuple[float, float]]
) -> None:
    """Whole sixteenths; the same for a drawing elsewhere and of another size; as much ink as the training's digits."""

    def rasterized(points: list[tuple[float, float]]) -> Array:
        return np.array(page.run(f"[...bnn.rasterize([{json.dumps(points)}])]")).reshape(8, 8) * 16

    image = rasterized(points)
    assert np.array_equal(image, image.round()) and image.min() >= 0 and image.max() <= 16
    moved = rasterized([(0.05 + x / 2, 0.2 + y / 2) for x, y in points])
    assert np.abs(image - moved).max() <= 2  # by rounding, a dot or two
    if name != "a dot":
        inks = datasets.load("digits").train.images.sum((1, 2, 3))
        assert inks.min() * 0.8 < image.sum() < inks.max()
    if name in ("a two", "a zero"):
        assert np.flatnonzero(image.sum(1)).tolist() == list(range(8))
        assert abs((image.sum(0) @ np.arange(8)) / image.sum() - 3.5) < 0.6


@pytest.mark.slow
def test_the_page_needs_nothing_else(folder: Path) -> None:
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.findall(
        r"""(?:src|href)="(?!data:)|\bimport\b[^\n]*\bfrom "|url\(""", re.sub(r"(?m)^//.*", "", index)
    )


@pytest.fixture
def served(browser: chromium.Page, folder: Path) -> Iterator[chromium.Page]:
    """The folder as a server's, and the parts of the runtime in `parts`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = {".js": "text/javascript", ".html": "text/html", "": "application/octet-stream"}

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/index.html", READY)
        browser.run("""(async () => {
          const bytes = async url => new Uint8Array(await (await fetch(url)).arrayBuffer());
          const { Network, BnnError } = await import("./bnn.js");
          globalThis.parts = { Network, BnnError, simd: await bytes("bnn-simd128.wasm"), plain: await bytes("bnn.wasm"),
            file: await bytes("model.bnn") };
        })()""")
        yield browser
        server.shutdown()


@pytest.mark.slow
def test_layers_have_the_bytes_of_the_runtime(served: chromium.Page) -> None:
    """All ops of a network opened by bnn.js, fetched from a server as in the docs."""
    image = datasets.to_input(datasets.load("digits").test.images[7:8], 16)
    model = bnn.load(DIGITS)
    stepper = model.stepper(1)
    stepper.poke(0, image)
    expected = [stepper.step(op.index, 1) for op in model.ops]
    for modules, kernels in (("[parts.simd, parts.plain]", "simd128"), ("[parts.plain]", "flash")):
        served.run(f"parts.Network.open({modules}, parts.file).then(network => {{ parts.network = network; }})")
        assert served.run("parts.network.kernels") == kernels
        shapes = served.run("[parts.network.inputs, parts.network.outputs].flat().map(x => [x.name, x.type, x.shape])")
        assert shapes == [["image", "f32", [8, 8, 1]], ["probabilities", "f32", [10]]]
        layers = served.run(
            f"[...parts.network.layers([{image.ravel().tolist()}])].map(l => [l.op, l.layer, {BASE64}(l.values)])"
        )
        assert [layer[:2] for layer in layers] == [[op.op, op.layer] for op in model.ops]
        for (_, name, found), values in zip(layers, expected, strict=True):
            assert floats(found).tobytes() == values.tobytes(), name


@pytest.mark.slow
def test_the_example_in_the_docs(served: chromium.Page) -> None:
    page = (ROOT / "docs/howto/browser.md").read_text(encoding="utf-8")
    examples = re.findall(r"```js\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == 1
    served.events.clear()
    script = examples[0] + "globalThis.example = [...probabilities];"
    served.run(f"""(() => {{ const script = document.createElement("script");
      script.type = "module"; script.textContent = {json.dumps(script)}; document.body.append(script); }})()""")
    until(served, "globalThis.example !== undefined")
    blank = bnn.load(DIGITS)(np.zeros((1, 8, 8, 1), np.float32))[0]
    assert np.array_equal(np.array(served.run("example"), np.float32), blank)
    logged = [e["params"]["args"] for e in served.events if e.get("method") == "Runtime.consoleAPICalled"]
    assert len(logged) == 9 and served.complaints() == []


@pytest.mark.slow
def test_a_file_that_is_not_valid_is_refused(served: chromium.Page) -> None:
    opened = """(async file => {{ try {{ await parts.Network.open([parts.simd], file); return "opened"; }}
      catch (error) {{ return `${{error instanceof parts.BnnError}} ${{error.message}}`; }} }})({})"""
    answer = served.run(opened.format("new Uint8Array(300)"))
    assert answer.startswith("true not the kind of file expected: .bnn, or .snn for spikes over time: ")
    answer = served.run(opened.format("parts.file.map((byte, i) => i === 4000 ? byte ^ 1 : byte)"))
    assert answer.startswith("true the checksum does not match: the file is damaged: header: checksum: found ")
    wrong = "(() => { try { parts.network.run([[1, 2]]); } catch (error) { return error.message; } })()"
    served.run("parts.Network.open([parts.simd], parts.file).then(network => { parts.network = network; })")
    assert served.run(wrong) == "images of 2 elements, expected 64"


@pytest.mark.slow
def test_modules_import_nothing(served: chromium.Page) -> None:
    for name in ("simd", "plain"):
        assert served.run(f"WebAssembly.compile(parts.{name}).then(WebAssembly.Module.imports)") == []


@pytest.mark.parametrize(
    ("size", "dtype", "message"),
    [
        (4, DType.f32, "expected one input (8, 8, 1) and one output (10,)"),
        (8, DType.u8, "expected float32 images"),
        (8, DType.f32, "expected softmax"),
    ],
)
def test_other_networks_are_refused(
    builder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, dtype: DType, message: str
) -> None:
    build = builder(1)
    x = ops.input_node("image", (size, size, 1), dtype)
    y = build.dense(ops.make("cast", x) if dtype is DType.u8 else x, 10, "dense")
    model = tmp_path / "other.bnn"
    model.write_bytes(encode(lower(Graph((x,), (y,), ("logits",)))))
    with pytest.raises(SystemExit) as stop:
        web.main([str(model), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_sizes_on_the_page(folder: Path) -> None:
    page = (ROOT / "docs/howto/browser.md").read_text(encoding="utf-8")
    for name, size in re.findall(r"^\| `(bnn\S*\.wasm)` \| (\d+) \|", page, flags=re.M):
        assert (folder / name).stat().st_size / 1000 == pytest.approx(int(size), rel=0.03), name


def test_with_an_installed_package(tmp_path: Path) -> None:
    """The C files are those beside the tool."""
    shutil.copytree(Path(bnn.__file__).parent, tmp_path / "bnn", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import bnn, web; print(bnn.__file__); assert {(web.ROOT / p).is_file() for p in web.SOURCES} == {True}"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'tools'}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'bnn/__init__.py'}\n"), done.stderr


def test_without_a_compiler_its_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web, "COMPILER", ("no-such-clang",))
    with pytest.raises(
        web.WebError, match="no-such-clang is not installed; on Debian: apt-get install clang-19 lld-19"
    ):
        web.write(DIGITS, tmp_path / "out")
    assert not (tmp_path / "out").exists()
