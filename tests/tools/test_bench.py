# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: they run, and say what they found in the form their readers rely on."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Limit

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
PERFORMANCE = ROOT / "docs/explanation/performance.md"
sys.path.insert(0, str(TOOLS))

from bench import document, timing  # noqa: E402
from bench.cases import mca  # noqa: E402
from bnn.importers.common.inputs import as_floats  # noqa: E402
from bnn.ir.graph import DType, Graph  # noqa: E402
from bnn.ir.ops import input_node  # noqa: E402
from bnn.runtime import available_kernels  # noqa: E402
from conftest import Builder, Small  # noqa: E402
from seed import half  # noqa: E402

needs_larq = pytest.mark.skipif(not importlib.util.find_spec("larq"), reason="the networks need TensorFlow and Larq")
needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool, or ``-c`` and code."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, tool if tool == "-c" else str(TOOLS / tool), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


WITHOUT = """
import importlib.util, runpy, sys
real, absent = importlib.util.find_spec, sys.argv[1].split(",")
importlib.util.find_spec = lambda name, *rest: None if name in absent else real(name, *rest)
sys.modules |= dict.fromkeys(absent)
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_without(packages: str, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool where packages are not installed."""
    return run("-c", WITHOUT, packages, str(TOOLS / tool), *arguments)


def test_turns_are_interleaved_and_the_order_rotates() -> None:
    calls: list[int] = []
    timings = timing.measure([lambda i=i: calls.append(i) for i in range(3)], 4, 1e-6, "cpu")  # type: ignore[misc]
    assert len(timings) == 3
    assert calls[-12:] == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]


def test_cold_calls_come_after_other_memory_and_warm_ones_after_calls(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    limit("bench.timing._MORE_THAN_CACHES", 16)
    monkeypatch.setitem(timing.CLOCKS, "calls", lambda: 1000 * len(calls))
    first, later = timing.cold(lambda: calls.append(0), 3, "calls")
    assert len(calls) == 1 + 3 * 3 and first.median == later.median == 1.0


def test_a_contestant_twice_as_slow_is_found_so() -> None:
    def work(n: int) -> Any:
        return lambda: sum(range(n))

    fast, slow = timing.measure([work(20_000), work(40_000)], 15, 1.0, "cpu")
    assert 1.5 < slow.median / fast.median < 2.7
    assert fast.best <= fast.first_quartile <= fast.median <= fast.third_quartile


def test_blocks_of_a_document_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d.md"
    path.write_text("a\n<!-- bench: one -->\n<!-- end -->\nb\n<!-- bench: two -->\nkept\n<!-- end -->\n")
    document.update(path, {"one": "new", "three": "nowhere"})
    assert path.read_text() == (
        "a\n<!-- bench: one -->\nnew\n<!-- end -->\nb\n<!-- bench: two -->\nkept\n<!-- end -->\n"
    )


def test_timing_of_samples() -> None:
    found = timing.Timing.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.best, found.first_quartile, found.median, found.third_quartile) == (1.0, 2.0, 3.0, 4.0)
    assert found.spread == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [DType.f32, DType.u8])
def test_events_of_floats_and_bytes(dtype: DType, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    build, image = Builder(), input_node("image", (8, 8, 1), dtype)
    h = build.sign(build.norm(build.conv(as_floats(image), 32, "stem"), "norm"), "sign")
    small = Small(Graph((image,), (build.dense(h, 10, "scores"),), ("scores",)))
    (tmp_path / "net.bnn").write_bytes(small.data)
    few = ("--rounds", "1", "--images", "9", "--frames", "4")
    done = run("benchmark.py", "events", "--model", str(tmp_path / "net.bnn"), "--dataset", "digits", *few)
    assert done.returncode == 0 and "brightest: " in done.stdout and "0 frames differ" in done.stdout, done.stderr


@pytest.mark.slow
@needs_larq
@needs_cc
def test_models_as_json(tmp_path: Path) -> None:
    document, picture = tmp_path / "document.md", tmp_path / "profile.png"
    names = ("models", "scaling", "small", "layers")
    document.write_text("".join(f"<!-- bench: {name} -->\nold\n<!-- end -->\n" for name in names))
    done = run(
        "benchmark.py", "models", "--network", "digits", "--network", "bits-7x7x512", "--docs", str(document),
        "--rounds", "1", "--slice", "0.1", "--clock", "cpu", "--profile", "--small", "--plot", str(picture), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found, layer = report["networks"]
    assert layer["binary_macs"] == 8 * 49 * 9 * 512 * 512 and layer["float_macs"] == 0
    assert found["network"] == "digits" and found["binary_macs"] > 0 and found["file_bytes"] > 0
    assert 0 < found["register_loop_us"] < found["rows"][0]["us"]["median"]
    first = found["rows"][0]
    assert first["engine"] == "bnn" and first["times_bnn"] == 1.0 and (first["images"], first["threads"]) == (1, 1)
    engines = {row["engine"] for row in found["rows"]}
    assert "TensorFlow" in engines and "bnn, cold caches" in engines
    if {"avx512", "avx2"} <= set(available_kernels()):
        assert "bnn, AVX2" in engines
    assert {row["setting"] for row in found["rows"] if row["engine"] == "XNNPACK"} == {"float32", "int8"}
    for peer, engine in (("lce", "Larq Compute Engine"), ("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
        assert engine in engines or found["missing"].get(peer) or report["without"][peer]
    assert sum(op["share"] for op in found["profile"]) == pytest.approx(1)
    assert {"import_ms", "digits_call_us", "digits_c_us", "digits_added_us"} <= set(report["small"])
    text = document.read_text()
    models, _, layers = text.partition("<!-- bench: layers -->")
    assert "| digits | " in models and "`import bnn`" in models and "| bits-7x7x512 | " in layers
    assert text.count("\nold\n") == 1, "only the block of what was not measured stays"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@needs_larq
def test_peers_that_are_not_installed_have_no_columns(tmp_path: Path) -> None:
    """And are named, with how to install them; a compiler that is not there is, too."""
    document = tmp_path / "document.md"
    document.write_text("".join(f"<!-- bench: {name} -->\nold\n<!-- end -->\n" for name in ("models", "missing")))
    done = run_without(
        "larq_compute_engine,onnxruntime", "benchmark.py", "models", "--network", "digits", "--rounds", "1",
        "--slice", "0.1", "--docs", str(document), "--cc", "no-such-cc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "without lce: not installed: larq_compute_engine; run: pip install " in done.stderr
    assert "onnxruntime; run: pip install onnx onnxruntime\n" in done.stderr
    assert "without register-loop rate: no C compiler is called 'no-such-cc'" in done.stderr
    assert "TensorFlow" in done.stdout and "LCE" not in done.stdout and "bnn" in done.stdout
    header, line, row = document.read_text().splitlines()[1:4]
    columns = ["TensorFlow", "Keras eager", "XNNPACK f32", "XNNPACK int8 |"]
    assert header.split(" | ")[-4:] == columns and header.count("|") == row.count("|")
    assert "- lce: not installed: larq_compute_engine; run: " in document.read_text()


@pytest.mark.slow
@needs_larq
@pytest.mark.parametrize(
    ("absent", "arguments", "message"),
    [
        ("onnx", ["--network", "digits", "--peer", "tensorflow", "--peer", "onnxruntime"], "Error: onnxruntime: not "),
        ("larq_zoo", ["--network", "QuickNet", "--no-peers"], "without QuickNet: larq_zoo cannot be imported ("),
    ],
)
def test_what_is_asked_for_by_name_is_needed(absent: str, arguments: list[str], message: str) -> None:
    done = run_without(absent, "benchmark.py", "models", *arguments, "--rounds", "1", "--slice", "0.1")
    assert done.returncode == 1
    assert message in done.stderr and "; run: pip install " in done.stderr and "Traceback" not in done.stderr


@needs_larq
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "nothing"], "Invalid value for '--network'"),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
        (["--scaling", "--clock", "cpu"], "--scaling needs --clock wall"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    done = run("benchmark.py", "models", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_openvino_is_needed() -> None:
    done = run_without("openvino", "benchmark.py", "openvino", "--rounds", "1")
    assert done.returncode == 1 and "; run: pip install openvino" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="needs openvino")
def test_openvino_gives_the_sums_before_it_is_timed(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("<!-- bench: openvino -->\nold\n<!-- end -->\n")
    done = run("benchmark.py", "openvino", "--rounds", "1", "--slice", "0.1", "--docs", str(document), "--json")
    assert done.returncode == 0, done.stderr
    assert [row["shape"] for row in json.loads(done.stdout)["rows"]][0] == "56x56x64"
    assert "| 7x7x512 | " in document.read_text()


@pytest.mark.slow
def test_int8_layers_have_the_bytes_of_their_peers(tmp_path: Path) -> None:
    """python tools/benchmark.py int8 --docs PAGE"""
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason=f"needs {package}")
    document = tmp_path / "int8.md"
    document.write_text("<!-- bench: int8 -->\nold\n<!-- end -->\n")
    done = run("benchmark.py", "int8", "--rounds", "1", "--slice", "0.1", "--docs", str(document), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 8 and min(row["us"]["median"] for row in rows) > 0
    assert "| 7x7 1x1, 512 and 2048 | " in document.read_text()


@pytest.mark.slow
def test_calibration(tmp_path: Path) -> None:
    """python tools/benchmark.py calibration --docs PAGE"""
    document = tmp_path / "int8.md"
    document.write_text((ROOT / "docs" / "howto" / "int8.md").read_text("utf-8"), "utf-8")
    few = ("--network", "QuickNetSmall", "--rounds", "1", "--slice", "0.1")
    done = run("benchmark.py", "calibration", *few, "--docs", str(document), "--json")
    if "larq_zoo cannot be imported" in done.stderr:
        pytest.skip("needs larq_zoo")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["int8"] == 6 < row["layers"] and row["after"] < row["before"]
    assert row["bytes_after"] < 0.7 * row["bytes_before"] and "| QuickNetSmall | " in document.read_text("utf-8")


@pytest.mark.slow
def test_integers(tmp_path: Path) -> None:
    """python tools/benchmark.py integers --docs PAGE"""
    document = tmp_path / "int8.md"
    document.write_text((ROOT / "docs" / "howto" / "int8.md").read_text("utf-8"), "utf-8")
    few = ("--network", "MobileNetV2-0.5", "--rounds", "1", "--slice", "0.1")
    done = run("benchmark.py", "integers", *few, "--docs", str(document), "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert min(row["floats"], row["int8"], row["integers"], row["xnnpack"]) > 0
    assert row["bytes_integers"] < 0.4 * row["bytes_floats"] and "| MobileNetV2-0.5 | " in document.read_text("utf-8")


@pytest.mark.slow
@needs_cc
def test_kernels_as_json(tmp_path: Path) -> None:
    plot, document = tmp_path / "roofline.png", tmp_path / "performance.md"
    document.write_text("<!-- bench: kernels -->\nold\n<!-- end -->\n")
    few = ("--family", "scalar", "--rounds", "1")
    done = run("benchmark.py", "kernels", *few, "--plot", str(plot), "--docs", str(document), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["kind"] for row in rows} >= {"bconv2d", "conv2d"}
    assert all(row["ns"] > 0 for row in rows)
    assert plot.read_bytes().startswith(b"\x89PNG") and "| scalar | bits | " in document.read_text()


@pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="needs onnx and onnxruntime",
)
def test_the_onnx_network_has_the_shape_of_its_source() -> None:
    import onnxruntime

    from bench import onnx_network
    from bnn.ir.graph import Graph
    from bnn.ir.ops import ClampAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs, constant, input_node, make

    rng = np.random.default_rng(0)
    x = input_node("x", (6, 6, 3))
    filters = constant(rng.normal(size=(8, 3, 3, 3)).astype(np.float32))
    y = make("conv2d", x, filters, attrs=ConvAttrs(pads=(1, 1, 1, 1)))
    y = make("clamp", make("sub", y, constant(np.ones(8, np.float32))), attrs=ClampAttrs())
    y = make("max_pool", y, attrs=PoolAttrs((2, 2), (2, 2)))
    y = make("reshape", y, attrs=ReshapeAttrs((72,)))
    graph = Graph((x,), (make("softmax", y),))
    session = onnxruntime.InferenceSession(onnx_network.export(graph).SerializeToString())
    (out,) = session.run(None, {"input": rng.normal(size=(1, 3, 6, 6)).astype(np.float32)})
    assert out.shape == (1, 72) and out.sum() == pytest.approx(1, rel=1e-5)


def test_the_table_of_cases() -> None:
    """Each is a module with a command of its name; the documentation names these and no others."""
    done = run("benchmark.py", "--help")
    cases = {path.stem for path in (TOOLS / "bench" / "cases").glob("*.py")} - {"__init__"}
    assert set(re.findall(r"^  (\w+)  +\S", done.stdout.partition("Cases:")[2], re.M)) == cases
    for name in cases - {"score"}:
        command = getattr(importlib.import_module(f"bench.cases.{name}"), name)
        assert "as_json" in {option.name for option in command.params} and command.help
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"tools/benchmark\.py ([a-z0-9]+)", page.read_text("utf-8"))}
    assert named == cases and not run("benchmark.py", "nothing").stdout


@pytest.mark.slow
def test_scoring_many() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[score]'")
    done = run("benchmark.py", "score", "--pictures", "300", "--workers", "")  # without Ray
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows == ["one process", "one process, 224 x 224"]


def test_inner_loops_of_assembly() -> None:
    """Loops that end with a jump back, and those whose condition stands before them; not what is around them."""
    text = """
first:
    mov 1
.L1:
    count a
.L2:
    count b // the loop
    cbnz x0,.L2
    b.ne .L1
    ret
second:
    count outside
.L4:
    cmp a, b
    jle .L6
.L5:
    count c, d
    jmp .L4
.L6:
    ret
"""
    loops = list(mca.inner_loops(text, lambda instruction: instruction.startswith("count")))
    assert loops == [
        ("first", ["count b", "cbnz x0,.L2"]),
        ("second", ["count c, d", "jmp .L4", "cmp a, b", "jle .L6"]),
    ]


_BASELINE = re.search(r"<!-- bench: mca -->\n(.*?)<!-- end -->", PERFORMANCE.read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "compiler"), half(itertools.product(mca.FAMILIES, mca.COMPILERS)))
def test_inner_loops_are_not_slower_than_documented(family: str, compiler: str) -> None:
    if absent := mca.missing(family, compiler):
        pytest.skip(f"not installed: {', '.join(absent)}")
    assert _BASELINE is not None
    header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in _BASELINE[1].strip().split("\n"))
    before = {line[1]: float(line[header.index(compiler)]) for line in lines if line[0] == family}
    found = mca.rates(family, compiler)
    assert found.keys() == before.keys()
    assert all(found[processor] > 0.99 * before[processor] for processor in before), (found, before)
