# SPDX-License-Identifier: Apache-2.0
"""Emitted C as its users meet it: compilers and their modes, memory, outputs, options, errors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._types import Array
from bnn.emit.c.interface import TARGETS
from bnn.errors import CompileError, InputError
from bnn.file.write import encode
from bnn.ir import interpret, ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.passes.choose_layout import choose_layout
from bnn.passes.plan_arena import arrange, passable
from bnn.passes.schedule import schedule
from bnn.runtime import Model
from sanitized import SANITIZE, call
from targets import networks

from .batch import check

Rng = np.random.Generator
HERE = Path(__file__).parent
DIGITS = HERE.parents[2] / "examples" / "digits.bnn"
SOURCES = ("main.c", "net.c", "net_kernels.c")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wcast-qual", "-Werror")


def needs(compiler: str) -> None:
    """Skip a test whose compiler is not installed."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed; on Debian: apt-get install {compiler}")


def paths(folder: Path, *names: str) -> list[str]:
    return [str(folder / name) for name in names]


def run_main(folder: Path, *command: str) -> str:
    """Compile main.c with the network and run it; it exits with 0 if every output is right."""
    program = str(folder / "net")
    call(*command, *paths(folder, *SOURCES), "-lm", "-o", program)
    return call(program)


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose epilogues, functions and float sums contraction or reordering would change."""
    rng = np.random.default_rng(5)
    x = ops.input_node("x", (6, 6, 8))
    weights = ops.constant(rng.normal(size=(24, 3, 3, 8)))
    numbers = [ops.constant(rng.normal(size=24)) for _ in range(3)]
    attrs = ops.ConvAttrs(pads=(1, 1, 1, 1), slots=("sub", "mul", "add"))
    y = ops.make("conv2d", x, weights, *numbers, attrs=attrs)
    bits = ops.make("binarize", y)
    z = ops.make("bconv2d", bits, op_graphs.signs(rng, (9, 3, 3, 24)), attrs=ops.ConvAttrs())
    z = ops.make("affine", z, *(ops.constant(rng.normal(size=9)) for _ in range(3)))
    z = ops.make("tanh", ops.make("sigmoid", ops.make("avg_pool", z, attrs=ops.PoolAttrs((4, 4), (1, 1)))))
    z = ops.make("pow", ops.make("exp", z), attrs=ops.PowAttrs(0.3))
    z = ops.make("softmax", ops.make("reshape", z, attrs=ops.ReshapeAttrs((9,))))
    folder = tmp_path_factory.mktemp("floats")
    model = Model.from_bytes(encode(op_graphs.plan([x], [z])))
    bnn.emit_c(model, folder, name="net", vectors=rng.normal(size=(20, 6, 6, 8)).astype(np.float32))
    return folder


MODES = [
    ("gcc", "-std=gnu11", "-O3", "-march=native"),
    ("gcc", "-std=gnu11", "-Ofast", "-march=native"),
    ("gcc", "-std=gnu11", "-Ofast", "-march=native", "-flto"),
    ("gcc", "-std=c99", "-Os", *WARNINGS),
    ("g++", "-x", "c++", "-std=c++11", "-O2", *WARNINGS),
    ("g++", "-x", "c++", "-std=gnu++17", "-Ofast", "-march=native"),
    ("clang-19", "-std=gnu11", "-Ofast", "-march=native", "-Wno-deprecated-ofast"),
    ("clang-19", "-std=c99", "-O2", *WARNINGS),
    ("tcc",),
]


@pytest.mark.parametrize("command", MODES, ids=" ".join)
def test_the_same_bytes_in_every_mode(command: tuple[str, ...], floats: Path, tmp_path: Path) -> None:
    needs(command[0])
    shutil.copytree(floats, tmp_path / "net_files")
    assert "0 of 20 wrong" in run_main(tmp_path / "net_files", *command)


def test_what_the_code_needs(floats: Path, tmp_path: Path) -> None:
    """No function of the C library but those that the README lists; nothing that can be written."""
    readme = (floats / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(mem\w+|\w+f)`", readme))
    objects = [str(tmp_path / f"{name}.o") for name in ("net", "net_kernels")]
    for source, made in zip(paths(floats, "net.c", "net_kernels.c"), objects, strict=True):
        call("gcc", "-std=c99", "-O2", "-fno-builtin", "-fno-pie", "-c", source, "-o", made)
    symbols = [line.split()[-2:] for line in call("nm", *objects).splitlines() if len(line.split()) >= 2]
    defined = {name for kind, name in symbols if kind != "U"}
    needed = {name for kind, name in symbols if kind == "U"} - defined
    assert needed <= listed and needed <= {"memcpy", "memset", "sqrtf", "fabsf", "copysignf"}
    assert not [name for kind, name in symbols if kind in "dDbBC"]
    outside = {name for kind, name in symbols if kind.isupper() and kind != "U"}
    assert all(name.startswith(("net_", "bnn_")) for name in outside)


def test_no_function_that_is_not_called(floats: Path, tmp_path: Path) -> None:
    header = (floats / "net.h").read_text(encoding="utf-8")
    assert "double" not in header
    for name in ("net.c", "net_kernels.c"):
        text = re.sub(r"/\*.*?\*/", "", (floats / name).read_text(encoding="utf-8"), flags=re.S)
        assert not re.findall(r"\b(double|malloc|printf|alloca)\b", text)
    # In one file they are static: compilers name those that nothing calls.
    needs("g++")
    bnn.emit_c(DIGITS, tmp_path, name="net", single_file=True)
    call("gcc", "-std=c99", *WARNINGS, "-x", "c", "-DNET_IMPLEMENTATION", "-c", str(tmp_path / "net.h"), "-o",
         str(tmp_path / "net.o"))  # fmt: skip
    call("g++", "-std=c++11", *WARNINGS, "-x", "c++", "-DNET_IMPLEMENTATION", "-c", str(tmp_path / "net.h"), "-o",
         str(tmp_path / "net.o"))  # fmt: skip
    symbols = [line.split()[-2:] for line in call("nm", str(tmp_path / "net.o")).splitlines()]
    assert {name for kind, name in symbols if kind == "T"} == {"net_run", "net_input"}


def _with_arena(folder: Path, model: Model | Path, vectors: Array, *defines: str, **options: Any) -> list[str]:
    """The command that builds arena.c for a network with one input and one output."""
    bnn.emit_c(model, folder, name="net", vectors=vectors, **options)
    tables = re.findall(r"^static const (\w+) (vector_\w+)\[", (folder / "net_vectors.h").read_text("utf-8"), re.M)
    (kind, image), (_, expected) = tables
    numbers = {
        "INPUT": image, "INPUT_TYPE": f"const {kind}", "INPUT_BYTES": vectors[0].nbytes, "EXPECTED": expected,
        "OUTPUT_TYPE": "uint16_t" if options.get("output") == "class" else "float",
    }  # fmt: skip
    return [
        "gcc", "-std=c99", "-O1", *SANITIZE, *defines, *(f"-D{n}={v}" for n, v in numbers.items()), f"-I{folder}",
        str(HERE / "arena.c"), *paths(folder, "net.c", "net_kernels.c"), "-lm", "-o", str(folder / "arena"),
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["values", "class"])
def test_arenas(output: str, rng: Rng, tmp_path: Path) -> None:
    """Of every size and misalignment; canaries stay; what was in the arena does not matter; inputs in place."""
    model = bnn.load(DIGITS)
    images = rng.integers(0, 17, (2, *model.input_shapes[0])).astype(model.input_dtypes[0])
    call(*_with_arena(tmp_path, model, images, output=output))
    call(str(tmp_path / "arena"))


def test_arenas_of_random_ops(rng: Rng, tmp_path: Path) -> None:
    for number in range(4):
        graph = op_graphs.one_op(rng, "bconv2d", op_graphs.BIT_OPS)
        inputs = [op_graphs.values_of(rng, 2, x) for x in graph.inputs]
        folder = tmp_path / str(number)
        size = bnn.emit_c(Model.from_bytes(encode(graph)), folder, name="net").arena
        command = _with_arena(folder, Model.from_bytes(encode(graph)), inputs[0], f"-DFIRST={max(size - 500, 0)}u")
        call(*command)
        call(str(folder / "arena"))


@pytest.mark.drawn
def test_arenas_of_rows_in_turn(rng: Rng, tmp_path: Path) -> None:
    """An input may lie where rows of values come when its own have been read."""
    for number in range(4):
        folder, text = tmp_path / str(number), ""
        while "tick" not in text:
            graph = op_graphs.network(rng, 6, tall=True)
            graph = op_graphs.plan(graph.inputs, graph.outputs[:1])
            model = Model.from_bytes(encode(graph))
            size = bnn.emit_c(model, folder, name="net").arena
            text = (folder / "net.c").read_text("utf-8")
        inputs = op_graphs.values_of(rng, 2, graph.inputs[0])
        call(*_with_arena(folder, model, inputs, f"-DFIRST={max(size - 100, 0)}u"))
        call(str(folder / "arena"))


def test_zeros_of_a_max_pool(rng: Rng, tmp_path: Path) -> None:
    """Theirs are of the sign of the first in a window, as on hosts: arena.c compares bits."""
    x = ops.input_node("x", (9, 9, 3))
    y = ops.make("max_pool", x, attrs=ops.PoolAttrs((3, 3), (2, 2), pads=(1, 1, 1, 1)))
    model = Model.from_bytes(encode(op_graphs.plan([x], [y])))
    images = rng.choice(np.float32([0.0, -0.0, -1.0]), (2, 9, 9, 3))
    call(*_with_arena(tmp_path, model, images, "-DFIRST=0xffffffu"))
    call(str(tmp_path / "arena"))


def residual_of_integers(rng: Rng, side: int) -> Model:
    images = rng.integers(0, 256, (4, side, side, 3)).astype(np.uint8)
    return bnn.calibrate(networks.residual_bits(side), images, integer_only=True).model


def test_an_input_lies_over_what_grows(rng: Rng, tmp_path: Path) -> None:
    """Rows of a pooled image are written over rows of the input that are no longer needed."""
    model = residual_of_integers(rng, 24)
    size = bnn.emit_c(model, tmp_path, name="net").arena
    assert size < 8000  # where the input lies behind all values, 8,448
    images = rng.integers(0, 256, (2, 24, 24, 3)).astype(np.uint8)
    call(*_with_arena(tmp_path, model, images, f"-DFIRST={max(size - 100, 0)}u"))
    call(str(tmp_path / "arena"))


class TestOutputs:
    def build(self, rng: Rng, *, softmax: bool) -> Model:
        x = ops.input_node("x", (40,))
        y = ops.make("bconv2d", ops.make("binarize", x), op_graphs.signs(rng, (7, 1, 1, 40)), attrs=ops.ConvAttrs())
        y = ops.make("softmax", y) if softmax else y
        return Model.from_bytes(encode(op_graphs.plan([x], [y])))

    @pytest.mark.parametrize("softmax", [True, False])
    @pytest.mark.parametrize("output", ["values", "logits", "probabilities", "class"])
    def test_right(self, output: str, softmax: bool, rng: Rng, tmp_path: Path) -> None:
        model = self.build(rng, softmax=softmax)
        bnn.emit_c(model, tmp_path, name="net", output=output)
        assert "0 of 4 wrong" in run_main(tmp_path, "gcc", "-std=c99")
        calls = (tmp_path / "net.c").read_text(encoding="utf-8")
        expected = output == "probabilities" or (output == "values" and softmax)
        assert ("bnn_softmax(" in calls) == expected


def test_the_trace_names_the_layer(tmp_path: Path) -> None:
    """A wrong weight in the file: the first layer that differs."""
    bnn.emit_c(DIGITS, tmp_path, name="net", trace=True)
    program = str(tmp_path / "net")
    code = tmp_path / "net.c"
    text = code.read_text(encoding="utf-8")
    begin = re.search(r"static const uint32_t NET_TABLE net_conv2_weights\[\d+\] = \{\n\s+0x(\w)", text)
    assert begin
    changed = f"{int(begin[1], 16) ^ 5:x}"
    code.write_text(text[: begin.start(1)] + changed + text[begin.end(1) :], encoding="utf-8")
    call("gcc", "-std=c99", "-DNET_HOOK", *paths(tmp_path, *SOURCES), "-lm", "-o", program)
    layers = re.findall(r"^    \{ /\* (\w+): ", text, re.M)
    with pytest.raises(AssertionError, match=rf"layer {layers.index('conv2')} is the first that differs"):
        call(program)


def test_a_nan_is_reported(tmp_path: Path) -> None:
    x = ops.input_node("x", (5,))
    model = Model.from_bytes(encode(op_graphs.plan([x], [ops.make("unpack", ops.make("binarize", x))])))
    bnn.emit_c(model, tmp_path, name="net")
    (tmp_path / "main.c").write_text(
        '#include "net.h"\n#include <math.h>\nint main(void)\n{\n    static uint64_t arena[NET_ARENA_BYTES / 8 + 1];\n'
        "    float x[5] = {0, 1, NAN, 2, 3}, y[5];\n"
        "    return net_run(arena, sizeof arena, x, y) != NET_ERROR_NAN;\n}\n",
        encoding="utf-8",
    )
    run_main(tmp_path, "gcc", "-std=c99")


def bits(*shape: int) -> Node:
    return ops.make("binarize", ops.input_node("x", shape))


def ones(*shape: int) -> Node:
    return ops.constant(np.ones(shape), DType.b1)


def around(value: int, *pads: int) -> ops.ConvAttrs:
    return ops.ConvAttrs(pads=pads, pad_value=value)  # type: ignore[arg-type]


# What does not fit in a descriptor, and what C has no room for.
REFUSED: dict[str, tuple[Callable[[], Node], dict[str, str], str]] = {
    "products": (
        lambda: ops.make("bconv2d", bits(32767), ones(4, 1, 1, 32767)), {},
        r"sum 32767 products of bits, padding included \(at most 32766\)",
    ),
    "products of padding": (  # three times the taps' channels
        lambda: ops.make("bconv2d", bits(2, 2, 3200), ones(1, 3, 3, 3200), attrs=around(1, 1, 1, 1, 1)), {},
        r"sum \d{5} products of bits, padding included",
    ),
    "a dimension": (
        lambda: ops.make("avg_pool", ops.input_node("x", (1, 1, 65536)), attrs=ops.PoolAttrs((1, 1), (1, 1))), {},
        r"have a dimension of 65536 \(at most 65535\)",
    ),
    "borders": (
        lambda: ops.make("bconv2d", bits(20, 20, 32), ones(1, 17, 17, 32), attrs=around(0, 16, 16, 16, 16)), {},
        r"have \d+ kinds of windows at the image's border \(at most 256\)",
    ),
    "the batch": (
        lambda: ops.make("batch_sum", ops.input_node("x", (4, 4, 3))), {},
        r"op 'batch_sum': .* other images of a batch; run the .bnn file",
    ),
    "a class of an image": (
        lambda: ops.make("unpack", bits(2, 2, 3)), {"output": "class"},
        r"output 'class' is for one vector of classes; use 'values' for .*f32\[",
    ),
    **{
        f"{option} {value}": (lambda: ops.make("unpack", bits(3)), {option: value}, f"{option}: found '{value}'{more}")
        for option, value, more in (
            ("name", "Digits", ", expected a C identifier in lower case"), ("name", "9", ""), ("name", "int", ""),
            ("name", "main", ""), ("name", "string", ""), ("name", "math", ""),
            ("target", "z80", ", expected one of generic, cortex-m0"),
            ("output", "best", ", expected one of values, logits"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    build, options, message = REFUSED[what]
    y = build()
    inputs = [node for node in Graph((), (y,)).nodes() if node.op == "input"]
    model = Model.from_bytes(encode(op_graphs.plan(inputs, [y])))
    with pytest.raises((CompileError, InputError), match=message):
        bnn.emit_c(model, tmp_path / "out", **{"name": "net", **options})
    assert not (tmp_path / "out").exists()


def test_tables_have_a_section(tmp_path: Path) -> None:
    needs("size")
    summary = bnn.emit_c(DIGITS, tmp_path, name="net")
    run_main(tmp_path, "gcc", '-DNET_TABLE=__attribute__((section(".tables")))')
    sizes = dict(line.split()[:2] for line in call("size", "-A", str(tmp_path / "net")).splitlines() if "." in line)
    assert 0.9 * summary.flash < int(sizes[".tables"]) < 1.1 * summary.flash


@pytest.mark.parametrize("limit", ["max_ram", "max_flash", "max_instructions"])
def test_limits(limit: str, tmp_path: Path) -> None:
    """What is needed may be taken; one less is refused with the layer that takes the most, and nothing is written."""
    model, folder = bnn.load(DIGITS), tmp_path / "digits"
    summary = bnn.emit_c(model, tmp_path / "any", name="digits", target="cortex-m4")
    needed, of_layer = {
        "max_ram": (summary.arena, [x.ram for x in summary.layers]),
        "max_flash": (summary.flash, [x.flash for x in summary.layers]),
        "max_instructions": (
            sum(x.instructions or 0 for x in summary.layers), [x.instructions or 0 for x in summary.layers],
        ),
    }[limit]  # fmt: skip
    options: dict[str, Any] = {"name": "digits", "target": "cortex-m4"}
    largest = summary.layers[int(np.argmax(of_layer))]
    expected = f"^{limit}: found {needed:,} .*, expected at most {needed - 1:,}; .* of '{largest.name}', "
    with pytest.raises(CompileError, match=f"{expected}{max(of_layer):,}; raise the limit, "):
        bnn.emit_c(model, folder, **options, **{limit: needed - 1})
    assert not folder.exists()
    assert bnn.emit_c(model, folder, **options, **{limit: needed}) == summary


def test_names_of_files_and_layers(tmp_path: Path, builder: Any) -> None:
    """Every name becomes an identifier that nothing else has."""
    build = builder(3)
    x = ops.input_node("int", (4, 4, 1))
    h = build.norm(build.conv(x, 8, "a/b c"), "norm")
    h = build.norm(build.dense(build.sign(h, "9 lives"), 10, "row"), "memory")
    data = encode(lower(Graph((x,), (h,), ("a-b",))))
    bnn.emit_c(Model.from_bytes(data), tmp_path, name="net")
    assert "0 of 4 wrong" in run_main(tmp_path, "gcc", "-std=c99", *WARNINGS)


def test_floats_are_remarked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = ops.input_node("x", (6, 6, 3))
    y = ops.make("conv2d", x, ops.constant(rng.normal(size=(8, 3, 3, 3))), attrs=ops.ConvAttrs(), name="stem")
    summary = bnn.emit_c(Model.from_bytes(encode(op_graphs.plan([x], [y]))), tmp_path, name="net")
    (remark,) = summary.remarks
    assert re.search(r"layer 'stem' is float; its tables take 896 bytes\. .* by input_dtype='uint8'", remark)


class TestSeveralNetworks:
    """In one program, whatever their form; names of one do not reach another."""

    def emit(self, folder: Path, name: str, **options: Any) -> None:
        bnn.emit_c(DIGITS, folder / name, name=name, **options)

    def program(self, folder: Path, *names: str) -> str:
        lines = [f'#include "{n}/{n}.h"' for n in names] + ["int main(void)", "{", "    float image[64] = {0};"]
        for n in names:
            lines.append(f"    static uint64_t {n}_memory[{n.upper()}_ARENA_BYTES / 8];\n    static float {n}_out[10];")
            lines.append(f"    if ({n}_run({n}_memory, sizeof {n}_memory, image, {n}_out)) return 1;")
            lines.append(f"    if ({n}_out[3] != {names[0]}_out[3]) return 2;")
        path = folder / "program.c"
        path.write_text("\n".join([*lines, "    return 0;", "}\n"]), encoding="utf-8")
        return str(path)

    def test_in_files_of_their_own(self, tmp_path: Path) -> None:
        needs("g++")
        files = []
        for name in ("one", "two"):
            self.emit(tmp_path, name, fast=name == "two")
            files += paths(tmp_path / name, f"{name}.c", f"{name}_kernels.c")
        self.emit(tmp_path, "three", single_file=True)
        (tmp_path / "three.c").write_text('#define THREE_IMPLEMENTATION\n#include "three/three.h"\n')
        main = self.program(tmp_path, "one", "two", "three")
        for compiler in (["gcc", "-std=c99"], ["g++", "-x", "c++", "-std=c++11"]):
            program = str(tmp_path / "program")
            call(*compiler, *WARNINGS, *files, str(tmp_path / "three.c"), main, "-lm", "-o", program)
            call(program)

    @pytest.mark.parametrize("compiler", [("gcc", "-std=c99"), ("g++", "-x", "c++", "-std=c++11")], ids=" ".join)
    def test_in_one_file(self, compiler: tuple[str, ...], tmp_path: Path) -> None:
        """Each header twice, as where another header includes it too."""
        needs(compiler[0])
        for name in ("one", "two"):
            self.emit(tmp_path, name, single_file=True)
        main = Path(self.program(tmp_path, "one", "two"))
        defines = "#define ONE_IMPLEMENTATION\n#define TWO_IMPLEMENTATION\n"
        text = main.read_text(encoding="utf-8")
        main.write_text(f'{defines}#include "two/two.h"\n{text}', encoding="utf-8")
        call(*compiler, *WARNINGS, str(main), "-lm", "-o", str(tmp_path / "program"))
        call(str(tmp_path / "program"))


@pytest.mark.parametrize("target", list(TARGETS))
def test_code_for_every_target_runs_here(target: str, tmp_path: Path) -> None:
    bnn.emit_c(DIGITS, tmp_path, name="net", target=target, fast=True)
    assert "0 of 4 wrong" in run_main(tmp_path, "gcc", "-std=c99", "-O1", *WARNINGS)


def test_names_of_layers_and_arrays(rng: Rng, tmp_path: Path) -> None:
    needs("g++")
    cases = []
    for name in ("status", "printf", "memcpy", "run", "hook", "n5_run", "bnn_mcu_conv_bits", "linux"):
        x, y = ops.input_node(name, (40,)), ops.input_node("run", (40,))
        z = ops.make("add", x, y, name=name)
        z = ops.make("bconv2d", ops.make("binarize", z, name=name), op_graphs.signs(rng, (7, 1, 1, 40)), name=name)
        graph = replace(op_graphs.plan([x, y], [z]), output_names=(name,))
        inputs = [op_graphs.integers(rng, (2, 40))] * 2
        cases.append((graph, inputs, interpret.outputs(graph, inputs)))
    for compiler in (("gcc", "-std=c99"), ("g++", "-x", "c++", "-std=c++11")):
        check(cases, tmp_path / compiler[0], compiler=compiler)


def test_vectors_of_any_floats(tmp_path: Path) -> None:
    x = ops.input_node("x", (3,))
    model = Model.from_bytes(encode(op_graphs.plan([x], [ops.make("mul", x, ops.constant([2.0]))])))
    bnn.emit_c(model, tmp_path, name="net", vectors=np.array([[np.nan, np.inf, -np.inf], [0, -0.0, 1e-45]], np.float32))
    assert "0 of 2 wrong" in run_main(tmp_path, "gcc", "-std=c99")


def test_memory_of_known_networks(rng: Rng, tmp_path: Path) -> None:
    """In bytes: the values that are alive together, of which many are a few rows, and what an op needs for itself."""
    # Of plain, while its first layers compute rows in turn: three rows of the image with its rim, 30 bytes each, and 6;
    # two of bits, 28 x 64; three of pooled bits with their rim, 16 x 64; two of bits, 14 x 64; pooled bits with their
    # rim, 9 x 9 x 64; 64 sums; and the image, 28 x 28, whose first two rows were read before there are sums.
    plain = 96 + 448 + 384 + 224 + 648 + 256 + 784 - 56
    expected = {networks.digits: 680, networks.plain: plain, networks.depthwise: 13072, networks.keywords: 10976}
    for network, size in expected.items():
        assert bnn.emit_c(network(), tmp_path / network.__name__, name="net", target="cortex-m4").arena == size
    assert bnn.emit_c(residual_of_integers(rng, 32), tmp_path / "residual", name="net").arena == 10472


def test_a_trace_has_every_layers_output(tmp_path: Path) -> None:
    """A value of which there are only some rows at once would be told of by NULL."""
    for trace in (False, True):
        summary = bnn.emit_c(networks.plain(), tmp_path / str(trace), name="net", trace=trace)
        text = (tmp_path / str(trace) / "net.c").read_text("utf-8")
        assert ("for (size_t tick" in text) == ("NET_AFTER(0, NULL, 0, " in text) == (not trace)
        assert (summary.arena < 3000) == (not trace)


@pytest.mark.parametrize("groups", [1, 2])
def test_passed_values_of_an_input_in_place(groups: int, rng: Rng, tmp_path: Path) -> None:
    """A convolution that reads the input while the max-pool writes: the input's place is not the pool's."""
    x = ops.input_node("x", (8, 8, 4))
    filters = ops.constant(rng.integers(-4, 5, (64, 3, 3, 4 // groups)))
    y = ops.make("conv2d", x, filters, attrs=ops.ConvAttrs(groups=groups))
    y = ops.make("max_pool", y, attrs=ops.PoolAttrs((2, 2), (2, 2)))
    graph = schedule(choose_layout(Graph((x,), (ops.make("unpack", ops.make("binarize", y)),), ("y",))))
    graph, _ = arrange(graph, passable(graph))
    images = op_graphs.values_of(rng, 2, x)
    check([(graph, [images], interpret.outputs(graph, [images]))], tmp_path)
    assert "for (size_t tick" in (tmp_path / "n0" / "n0.h").read_text("utf-8")
    call(*_with_arena(tmp_path / "arena", Model.from_bytes(encode(graph)), images, "-DFIRST=NET_ARENA_BYTES"))
    call(str(tmp_path / "arena" / "arena"))


def test_the_other_form_is_removed(tmp_path: Path) -> None:
    bnn.emit_c(DIGITS, tmp_path, name="net")
    (tmp_path / "own.c").write_text("int own;\n")
    bnn.emit_c(DIGITS, tmp_path, name="net", single_file=True)
    assert {p.name for p in tmp_path.iterdir()} == {"README.md", "main.c", "net.h", "net_vectors.h", "own.c"}


def test_the_class_of_a_network_of_depthwise_bits(tmp_path: Path) -> None:
    """Whose layers emitted C has in another form; the values that a class is chosen from stay in its memory."""
    model = networks.keywords()
    bnn.emit_c(model, tmp_path, name="net", output="class")
    assert "0 of 4 wrong" in run_main(tmp_path, "gcc", "-std=c99", "-O1")
