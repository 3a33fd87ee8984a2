# SPDX-License-Identifier: Apache-2.0
"""Names of strangers in every table, page, picture, error and emitted file.

What no test here names shows itself: a new command, a new class that prints, a new method that gives text.
"""

from __future__ import annotations

import dataclasses
import html.parser
import importlib
import importlib.util
import inspect
import io
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as tree
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

import bnn
import chromium
import hostile_text as hostile
from bnn import errors
from bnn._text import Guarded, ascii_json, page_json, printable, printable_lines
from bnn.calibration.report import Shortcut
from bnn.cli import apart, main
from bnn.cli.app import application
from bnn.cli.common import print_lines
from bnn.emit.c.program import identifier
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.runtime import progress
from bnn.runtime.evaluation import Evaluation
from bnn.snn import build
from bnn.streams.page import run_page
from bnn.streams.plot import save_run
from bnn.streams.recordings import from_fields
from hostile_text import NAME, name, wrong

RNG = np.random.default_rng(3)
IMAGES = (RNG.integers(0, 257, (3, 12, 12, 1)) / 256).astype(np.float32)
CLASSES = [f"{k}{NAME}" for k in range(10)]


@pytest.fixture(scope="module")
def model() -> bnn.Model:
    return bnn.Model.from_bytes(encode(hostile.graph()))


@pytest.fixture(scope="module")
def spiking() -> bnn.snn.SpikingModel:
    return build(hostile.spiking())


# -- the two functions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", hostile.PARTS)
def test_each_part(part: str) -> None:
    """It is seen, and not obeyed; twice is once."""
    text = f"a{hostile.PARTS[part]}b"
    shown = printable(text)
    assert shown.isprintable() and printable(shown) == shown and shown[0] == "a" and shown[-1] == "b"
    assert shown.encode().decode("unicode_escape").count("b") or "\\" in text
    assert not wrong(printable_lines(text)) or "\n" in text
    page = page_json({"x": [text], text: (1, None, True, 0.5)})
    assert page.isascii() and not set("<>&") & set(page) and page.isprintable()
    assert json.loads(page) == {"x": [shown], shown: [1, None, True, 0.5]}
    told = ascii_json([text, float("nan"), {text: float("inf")}])
    assert told.isascii() and not wrong(told) and json.loads(told) == [text, None, {text: None}]


def test_every_character() -> None:
    for c in map(chr, [*range(0x10000), *range(0xE0000, 0xE0200), sys.maxunicode]):
        shown = printable(c)
        assert (shown == c) == c.isprintable() and shown.isprintable()
    for c in "\n\t":
        assert printable_lines(c) == c and printable(c) != c


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_guarded_stream(encoding: str) -> None:
    """Whatever it is given, and whatever the terminal's encoding, a lone surrogate included."""
    raw = io.BytesIO()
    stream = Guarded(io.TextIOWrapper(raw, encoding))
    print(hostile.FILE_NAME, "\u00e9 \u4e2d", file=stream)  # type: ignore[call-overload]
    stream.writelines(["a\n", "b\r"])
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert not wrong(text.replace("\nFORGED", "")) and text.endswith("a\nb\\r") and "\\udcff" in text
    assert (encoding == "utf-8") == ("\u4e2d" in text) and not hasattr(stream, "buffer")


@pytest.mark.parametrize("kind", [e for e in vars(errors).values() if isinstance(e, type)], ids=lambda e: e.__name__)
def test_errors(kind: type[Exception]) -> None:
    """Of each class, also as another's cause and with a path, as a traceback shows them."""
    if not issubclass(kind, errors.BnnError):
        pytest.skip("not of this package")
    error = kind(f"layer '{NAME}': found 1, expected 2")
    assert str(error).isprintable() and repr(error).isprintable() and NAME in error.args[0]
    assert str(kind("plain text")) == "plain text"


# -- what Python users print ------------------------------------------------------------------------------------------


def events() -> Any:
    t = np.arange(60) * 300
    return from_fields(t % 8, t // 7 % 8, t % 2, t)


def emitted_nir(model: bnn.Model, path: Path) -> list[Any]:
    if not importlib.util.find_spec("nir"):
        return []
    return [bnn.emit_nir(model, path)]


def results(model: bnn.Model, spiking: Any, folder: Path) -> list[Any]:
    """Of each class whose text has names."""
    from bnn.snn.quantize import CounterLayer, Edge, Quantized
    from bnn.verification import nir, over_time, results

    engine = EventEngine(model)
    image = IMAGES[0]
    wrong_layer = nir.NirLayerCheck(NAME, NAME, 1, 1, first=NAME)
    importers = [nir.ImporterReport(NAME, NAME, NAME, layers=[wrong_layer]),
                 nir.ImporterReport(NAME, NAME, NAME, error=NAME)]  # fmt: skip
    watched = spiking.run_image(RNG.random((2, 8, 8)), 5, coding="rate", label=1, trace=True)
    return [
        model, spiking, bnn.Model.from_bytes(hostile.raw()), model.profile(IMAGES, repeats=1),
        engine.run_image(image, label=1, trace=True), engine.run_stream(IMAGES, label=2), engine.report(),
        EventEngine(model).run_events(events(), label=1),
        watched, watched.report, spiking.run(RNG.random((4, 2, 8, 8)) < 0.2),
        spiking.run_events(events(), label=1, origin=(0, 0)),
        calibrated := bnn.calibrate(model, IMAGES), *calibrated.layers, Shortcut(NAME, 0.5, 9.0),
        bnn.emit_c(model, folder / "c", name="net"), *emitted_nir(model, folder / hostile.FILE_NAME[:40]),
        hostile.graph(),
        Quantized((CounterLayer(NAME, "input", (1, 1, 1)), CounterLayer(name(1), "sums", (1, 1, 1), edges=(
            Edge(0, np.ones((1, 1, 1, 1))),))), (1, 1, 1), False, 8),
        results.VerifyReport(1, [results.LayerCheck(NAME, NAME, "bits", True, beyond=1)], results.EndToEnd(
            [results.LayerCheck(name(2), NAME, "floats", False)]), hint=NAME, framework=NAME),
        over_time.SpikeReport(simulator=NAME, version=NAME, samples=1, steps=1, oracle=0, first=(0, 0, NAME, 0),
                              layers=[over_time.PopulationCheck(name=NAME, neurons=1, why=NAME)]),
        nir.NirReport(importers, [NAME]),
        *(Evaluation(np.ones((n, n), np.int64), 1, 1, 1, [f"{k}{NAME}" for k in range(n)]) for n in (3, 30)),
    ]  # fmt: skip


#: Classes that print no name of a stranger.
NAMELESS = {
    "Attrs", "Value", "Levels", "TensorType", "Energy", "Rule", "_Remote", "BnnError", "Answering", "CSummary", "DType",
}  # fmt: skip


def printing_classes() -> Iterator[type]:
    """Those of the package that define their own text."""
    for module in pkgutil.walk_packages(bnn.__path__, "bnn."):
        if module.name.startswith(("bnn.importers", "bnn.__main__")):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and kind.__module__ == module.name and {"__str__", "describe"} & set(vars(kind)):
                yield kind


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """str, repr, and what each public method gives that returns text and needs no argument, or the classes' names."""
    yield "str", str(value)
    if not (dataclasses.is_dataclass(value) and type(value).__repr__.__module__ != type(value).__module__):
        yield "repr", repr(value)
    for key, method in inspect.getmembers(type(value), inspect.isfunction):
        returned = method.__annotations__.get("return")
        needed = [p.name for p in list(inspect.signature(method).parameters.values())[1:] if p.default is p.empty]
        if not key.startswith("_") and returned in ("str", str) and not needed:
            yield key, getattr(value, key)()
            if "names" in inspect.signature(method).parameters:
                yield f"{key} of classes", getattr(value, key)(CLASSES)
    for key, _ in inspect.getmembers(type(value), lambda m: isinstance(m, property)):
        if key.endswith("_text"):
            yield key, getattr(value, key)


def test_what_prints(model: bnn.Model, spiking: Any, tmp_path: Path) -> None:
    found = results(model, spiking, tmp_path)
    for value in found:
        for what, text in texts(value):
            assert not wrong(text), f"{type(value).__name__}, {what}: {wrong(text)}"
    seen = {kind.__name__ for value in found for kind in type(value).__mro__}
    missing = {kind.__name__ for kind in printing_classes()} - seen - NAMELESS
    missing -= set() if importlib.util.find_spec("nir") else {"NirSummary"}
    assert not missing, f"these print and are not tested: {missing}"
    assert sum("\\u202e" in str(value) for value in found) > 8  # the names are there


def test_a_graph_that_is_dumped() -> None:
    from bnn.ir import ops
    from bnn.ir.graph import Graph
    from bnn.passes import lower

    x, found = ops.input_node(name(0), (4, 4, 8)), list[str]()
    lower(Graph((x,), (ops.make("sign", x, name=name(1)),), (name(2),)), "all", found.append)
    assert found and not any(map(wrong, found)) and any("\\u202e" in text for text in found)


# -- pages and pictures -----------------------------------------------------------------------------------------------


class Elements(html.parser.HTMLParser):
    """The tags of a page, and the texts of its scripts, as a browser splits them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)
        # html.parser knows nothing of <!--<script>, which makes a browser read past one </script>.
        self.scripts = re.findall(r"<script>(.*?)</script>", text, re.S)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)


def pages(model: bnn.Model, spiking: Any, names: list[str] | None) -> dict[str, str]:
    engine = EventEngine(model)
    x = RNG.random((9, 2, 8, 8)) < 0.2
    return {
        "events": run_page(engine.run_image(IMAGES[0], label=1, trace=True), names),
        "snn": run_page(spiking.run_stream(x, label=1, trace=True), names and names[:4]),
    }


def test_pages(model: bnn.Model, spiking: Any) -> None:
    """The names are in the data, whole; the page has the elements that it has without them."""
    plain = Elements(Path(bnn.__file__).with_name("streams").joinpath("page.html").read_text(encoding="utf-8"))
    for kind, text in pages(model, spiking, CLASSES).items():
        found = Elements(text)
        assert not wrong(text), kind
        assert found.tags == plain.tags and len(found.scripts) == 1
        (data,) = re.findall(r"^const run = (.*);$", found.scripts[0], re.M)
        record = json.loads(data)
        assert record["classes"][1] == printable(CLASSES[1]) and printable(NAME) in record["layers"][0]["name"]
        assert "<" not in data


@pytest.mark.slow
def test_pages_in_a_browser(model: bnn.Model, spiking: Any, tmp_path: Path) -> None:
    """The script runs; a name is text, and nothing in it runs."""
    with chromium.started(tmp_path) as browser:
        for kind, text in pages(model, spiking, CLASSES).items():
            path = tmp_path / f"{kind}.html"
            path.write_text(text, encoding="utf-8")
            browser.open(f"{path.as_uri()}#event=2", "document.getElementById('events')?.textContent !== ''")
            assert browser.run("typeof FORGED") == "undefined" and not browser.run("document.images.length")
            assert browser.run("run.classes[1]") == printable(CLASSES[1])
            assert printable(CLASSES[1]) in browser.run("document.getElementById('scores').textContent")
            assert not browser.complaints()


def test_pictures(model: bnn.Model, spiking: Any, tmp_path: Path) -> None:
    """Drawn without a warning, of a missing glyph or of no room; an SVG is XML."""
    pytest.importorskip("matplotlib")
    engine, long = EventEngine(model), [text * 50 for text in CLASSES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_run(engine.run_image(IMAGES[0], label=1, trace=True), tmp_path / "image.svg", CLASSES)
        save_run(engine.run_stream(IMAGES, label=1), tmp_path / "stream.png", long)
        save_run(spiking.run_stream(RNG.random((9, 2, 8, 8)) < 0.2, label=1, trace=True), tmp_path / "run.pdf", long)
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())
    tree.parse(tmp_path / "image.svg")
    assert not wrong((tmp_path / "image.svg").read_text(encoding="utf-8"))


# -- emitted files ----------------------------------------------------------------------------------------------------

WORDS = re.findall(r"\S+", """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
    co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq _Bool _Static_assert _Thread_local errno math_errhandling stdin
    stdout stderr linux unix i386 memcpy printf main NULL NAN INFINITY __FILE__ __func__ 1a é
""")  # fmt: skip


@pytest.mark.parametrize("compiler", [("gcc", "-std=gnu17"), ("gcc", "-std=c99"), ("g++", "-x", "c++", "-std=c++20")])
def test_words_as_names(compiler: tuple[str, ...]) -> None:
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    headers = "".join(f"#include <{h}.h>\n" for h in ("errno", "math", "stddef", "stdint", "stdio", "string"))
    names = sorted({identifier(word) for word in [*WORDS, *hostile.PARTS.values(), NAME]})
    text = headers + "".join(f"void f{i}(float *{n});\nvoid f{i}(float *{n}) {{ *{n} = 0; }}\n"
                             for i, n in enumerate(names))  # fmt: skip
    done = subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-"] if "-x" in compiler else
                          [*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"],
                          input=text, capture_output=True, text=True)  # fmt: skip
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("single", [False, True])
def test_emitted_c(model: bnn.Model, single: bool, tmp_path: Path) -> None:
    """Every file is printable ASCII, compiles with trigraphs, and gives the right outputs."""
    bnn.emit_c(model, tmp_path, name="net", single_file=single, trace=True)
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text.isascii() and not wrong(text) and "FORGED:" not in text, path
    sources = ["main.c"] if single else ["main.c", "net.c", "net_kernels.c"]
    flags = ["-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Dnet_unused"]
    subprocess.run(["cc", *flags, *sources, "-lm", "-o", "net"], cwd=tmp_path, check=True)
    assert "0 of 4 wrong" in subprocess.run([tmp_path / "net"], capture_output=True, text=True, check=True).stdout


def test_emitted_nir(model: bnn.Model, tmp_path: Path) -> None:
    """Names of nodes are plain; the proof's text is ASCII; the file is read again."""
    nir = pytest.importorskip("nir")
    bnn.emit_nir(model, tmp_path / "net.nir")
    for key in nir.read(tmp_path / "net.nir").nodes:
        assert re.fullmatch(r"\w+", key, re.ASCII), key
    text = (tmp_path / "net.proof.json").read_text(encoding="utf-8")
    assert text.isascii() and not wrong(text) and json.loads(text)
    with np.load(tmp_path / "net.proof.npz") as proof:
        assert all(proof[key] is not None for key in proof.files)


def test_lines_beside_a_spinner_go_where_stdout_leads() -> None:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(Terminal()) as err:
        with progress.waiting("reading"):
            print_lines("a\nline")
        with progress.progress("running", 1):
            print_lines("another")
    assert out.getvalue() == "a\nline\nanother\n" and "line" not in err.getvalue()


# -- the command ------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_bars_and_spinners(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich's own sequences reach the terminal, those of a name do not; no markup in a name is one."""
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "2000")
    if not rich:
        for module in ("rich.console", "rich.progress"):
            monkeypatch.setitem(sys.modules, module, None)
    with redirect_stdout(Guarded(out)), redirect_stderr(Guarded(err)):  # type: ignore[type-var]
        with progress.waiting(f"reading {NAME}") as say:
            say(f"compiling {NAME}")
            progress.note(f"a note: {NAME}")
            print_lines(f"a line: {NAME}")
        with progress.progress(NAME, 3) as advance:
            advance(3)
    shown = err.getvalue() + out.getvalue()
    assert ("\x1b[" in shown) == rich and "[red][link=x]" in shown and "3/3" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)
    assert not wrong(plain.replace("FORGED", "")), wrong(plain)


DIGITS = Path(__file__).parents[1] / "examples/digits.bnn"


@pytest.fixture
def files(model: bnn.Model, spiking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Files of every kind that the command reads, with hostile names in them and as their names."""
    monkeypatch.chdir(tmp_path)
    made = {key: f"{hostile.FILE_NAME[:60]}{key}.{ending}" for key, ending in (
        ("net", "bnn"), ("raw", "bnn"), ("spiking", "snn"), ("images", "npy"), ("pixels", "npy"), ("spikes", "npy"),
        ("camera", "npz"), ("labels", "txt"), ("onnx", "onnx"), ("page", "html"), ("picture", "svg"), ("out", "npz"),
        ("made", "bnn"), ("targets", "npy"), ("rows", "parquet"), ("scores", "parquet"),
        ("converted", "snn"), ("none", "bnn"), ("wrong", "npz"), ("nir", "nir"), ("emitted", "nir"),
    )}  # fmt: skip
    model.save(made["net"])
    Path(made["raw"]).write_bytes(hostile.raw())
    spiking.save(made["spiking"])
    np.save(made["images"], IMAGES)
    np.save(made["targets"], np.arange(3))
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet as pq

        pq.write_table(pyarrow.table({NAME: IMAGES.reshape(3, -1).tolist()}), made["rows"])
    np.save(made["pixels"], RNG.integers(0, 256, (20, 1, 5, 5)).astype(np.uint8))
    np.save(made["spikes"], RNG.random((2, 9, 2, 8, 8)) < 0.2)
    camera = events()
    np.savez(made["camera"], **{field: camera[field] for field in camera.dtype.names})
    np.savez(made["wrong"], **{NAME.replace("/", "").replace("\0", ""): np.zeros(3), "b": np.zeros(2)})
    Path(made["labels"]).write_text("\n".join(f"{k}{hostile.ONE_LINE}" for k in range(10)), encoding="utf-8")
    if importlib.util.find_spec("onnx"):
        hostile.onnx_file(Path(made["onnx"]))
    return SimpleNamespace(**made)


#: By command: calls, with the status of each.
CALLS: dict[str, Callable[[Any], list[tuple[int, list[str]]]]] = {
    "compile": lambda f: [(0, [f.onnx, "-o", f.made, "--dump-after", "all"]), (0, [f.onnx, "-o", f.made, "--json"]),
                          (2, [f.net]), (2, [f.none])],
    "verify": lambda f: [(0, [f.onnx, f.made]), (2, [f.none, f.net])],
    "inspect": lambda f: [(0, [f.net]), (0, [f.raw]), (0, [f.raw, "--json"]), (2, [f.none]), (2, [f.images]),
                          (2, [f.net, f.raw]), (2, [f"--{f.net}"])],
    "bench": lambda f: [(0, [f.net, "--repeats", "3", "--batch", "1"]), (0, [f.raw, "--json", "--repeats", "3"]),
                        (2, [f.net, "--kernels", NAME.replace("\0", "")])],
    "run": lambda f: [(0, [f.net, f.images, "--labels", f.labels]), (0, [f.net, f.images, "--json"]),
                      (0, [f.net, f.images, "--output", f.out]), (2, [f.net, f.wrong]), (2, [f.net, f.none])],
    "evaluate": lambda f: [(0, [f.net, f.images, "--targets", f.targets, "--labels", f.labels]),
                           (0, [f.net, f.images, "--targets", f.targets, "--json"]),
                           (2, [f.net, f.images, "--targets", f.none]), (2, [f.net, f.none])],
    "score": lambda f: [(0, [f.net, "--input", f.rows, "--output", f.scores, "--labels", f.labels]),
                        (2, [f.net, "--input", f.none, "--output", f.scores]),
                        (2, [f.net, "--input", f.rows, "--output", f.scores, "--json", "--scores"])],
    "events": lambda f: [(0, [f.net, f.images, "--labels", f.labels, "--label", "1", "--html", f.page, "--plot",
                              f.picture]),
                         (0, [f.net, f.images, "--mode", "stream", "--json"]),
                         (0, [f.net, f.camera, "--mode", "recording"]), (2, [f.net, f.wrong, "--mode", "recording"])],
    "emit c": lambda f: [(0, [f.net, "-o", hostile.FILE_NAME[:50]]), (0, [f.net, "-o", "c", "--json"]),
                         (2, [f.net, "-o", f.net]), (2, [f.net, "-o", "c", "--name", NAME.replace("\0", "")])],
    "emit nir": lambda f: [(0, [f.net, f.emitted]), (0, [f.net, f.emitted, "--json"]), (2, [f.raw, f.emitted])],
    "snn inspect": lambda f: [(0, [f.spiking]), (0, [f.spiking, "--json"]), (2, [f.net])],
    "snn run": lambda f: [(0, [f.spiking, "--data", f.spikes]), (0, [f.spiking, "--data", f.spikes, "--json"]),
                          (0, [f.spiking, "--data", f.spikes, "--sample", "0", "--html", f.page, "--plot", f.picture]),
                          (0, [f.spiking, "--recording", f.camera]), (2, [f.spiking, "--data", f.wrong])],
    "snn compile": lambda f: [(2, [f.nir, "--simulator", "norse"]), (2, [f.spiking, "--simulator", "norse"])],
    "snn convert": lambda f: [(0, [f.onnx, "--data", f.pixels, "-o", f.converted]),
                              (2, [f.onnx, "--data", f.wrong, "-o", f.converted])],
    "calibrate": lambda f: [(0, [f.net, f.images, "-o", f.made]), (0, [f.net, f.images, "-o", f.made, "--json"]),
                            (2, [f.net, f.images, "-o", f.made, "--keep-float", NAME.replace("\0", "")])],
    "completion": lambda f: [(2, [f.net])],
    "snn verify": lambda f: [(2, [f.nir, f.spiking]), (2, [f.spiking, f.spiking])],
}  # fmt: skip


def leaves(command: click.Command, path: str = "") -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    for key, child in command.commands.items():
        yield from leaves(child, f"{path} {key}".strip())


def test_every_command_is_here() -> None:
    assert set(CALLS) == set(leaves(application))


@pytest.mark.parametrize("command", CALLS)
def test_commands(command: str, files: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """On stdout and stderr everything prints; what --json gives is JSON, with the names as they are."""
    needs_onnx = {"compile", "verify", "snn convert"}
    if command in needs_onnx:
        pytest.importorskip("onnxruntime")
    if command == "score":
        pytest.importorskip("pyarrow")
    if command in {"snn compile", "snn verify", "emit nir"}:
        pytest.importorskip("nir")
        hostile_nir(Path(files.nir))
    if command == "verify":
        bnn.compile(files.onnx).save(files.made)
    for status, arguments in CALLS[command](files):
        capfdbinary.readouterr()
        found = main([*command.split(), *arguments])
        out, err = (part.decode("utf-8") for part in capfdbinary.readouterr())
        assert found == status, err
        assert not wrong(out) and not wrong(err), (arguments, wrong(out) or wrong(err))
        assert "Traceback" not in err
        if status:
            assert "error" in err.lower() and len(err.splitlines()) < 8
        elif "--json" in arguments:
            json.loads(out)
        else:
            assert "\\u202e" in out


def hostile_nir(path: Path) -> None:
    from snn import nir_graphs

    name = NAME.replace("/", "").replace("\0", "")
    nir_graphs.write(path, nir_graphs.chain(**{"input": nir_graphs.node("Input", shape=[2]), name: nir_graphs.node(
        "LIF", tau=[0.1] * 2, r=[1.0] * 2, v_leak=[0.0] * 2, v_threshold=[1.0] * 2), "output": nir_graphs.node(
        "Output", shape=[2])}))  # fmt: skip


def test_what_the_process_that_loads_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of Python or not, whole lines or not."""
    program = tmp_path / "python"
    text = json.dumps(hostile.ONE_LINE)
    program.write_text(
        f"#!{sys.executable}\nimport os, sys; x = {text}; print(x); sys.stdout.flush(); "
        "os.write(2, x.encode() + b'\\x9b\\xff\\n' + x.encode()); sys.exit(3)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(bnn.CompileError, match="status 3"):
        apart.run_apart("compile", "net.h5", apart.Limits(0, 0), {})
    out, err = capfd.readouterr()
    assert out == printable(hostile.ONE_LINE) + "\n" and err.count(printable(hostile.ONE_LINE)) == 2
    assert not wrong(out) and not wrong(err) and os.linesep in err


def test_a_bug_prints_its_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def load(path: str) -> None:
        raise {"a": KeyError(NAME), "b": RuntimeError(NAME.replace("\n", "")), "c": PermissionError(13, "no", "x")}[
            path
        ]

    monkeypatch.setattr("bnn.cli.inspect.load", load)
    for path in "ab":
        assert main(["inspect", path]) == 2
        err = capfd.readouterr().err
        assert "this is a bug of bnn" in err and not wrong(err)
    assert main(["inspect", "c"]) == 2 and capfd.readouterr().err == "bnn: error: x: no\n"


def test_an_error_does_not_repeat_a_name_without_end() -> None:
    name, path = "\x00" * 10_000, "/" + "folder/" * 50 + "net.bnn"
    text = str(errors.BnnError(f"layer '{name}': no"))
    assert text.startswith(r"layer '\x00\x00") and text.endswith(r"\x00\x00': no") and len(text) < 200
    assert str(errors.BnnError(f"{path}: no such file")) == f"{path}: no such file"
    assert errors.BnnError(name).args == (name,)
