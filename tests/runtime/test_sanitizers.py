# SPDX-License-Identifier: Apache-2.0
"""The C runtime under AddressSanitizer and UndefinedBehaviorSanitizer, and what its object files may refer to.

driver.c and the files beside it do the work; here they are built, given models and judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import op_graphs
from bnn.file.coding import Encoding
from bnn.file.write import encode, shortest
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Storage
from bnn.ir.ops import OPS, ConvAttrs, constant, input_node, make
from events.spiking import populations
from sanitized import EAGER, ROOT, SANITIZE, Build, call, plain_flags, sanitizing_flags, sources, symbols
from seed import SEED, numbers, seeds, some

DIGITS = ROOT / "examples/digits.bnn"
ALLOCATORS = ("malloc", "calloc", "realloc", "posix_memalign")
DRIVER = [Path("tests/runtime", f"{name}.c") for name in ("driver", "fuzz", "boundaries", "faults", "threads", "tight")]


def is_core(source: Path) -> bool:
    return "host" not in source.parts


@pytest.fixture(scope="session")
def sanitized(sanitized_build: Build) -> Path:
    return sanitized_build.program("runtime", DRIVER)


@pytest.fixture(scope="session")
def plain_build(build_root: Path) -> Build:
    """Without -fPIE, under which constants that hold addresses would look writable to nm."""
    wrap = [f"-Wl,--wrap={name}" for name in ALLOCATORS]
    return Build(build_root / "plain", plain_flags("-fno-pie", "-DCOUNT_ALLOCATIONS"), ("-no-pie", *wrap))


@pytest.fixture(scope="session")
def plain(plain_build: Build) -> Path:
    return plain_build.program("runtime", DRIVER)


def one_input_graph() -> Graph:
    x = input_node("x", (4, 4, 3))
    filters = op_graphs.signs(np.random.default_rng(1), (5, 3, 3, 3))
    y = make("bconv2d", make("binarize", x), filters, attrs=ConvAttrs(pads=(1, 1, 1, 1)))
    return op_graphs.plan([x], [make("softmax", y)])


def nan_graph() -> Graph:
    """A binarized path and one that is not."""
    x = input_node("x", (3, 3, 5))
    rng = np.random.default_rng(1)
    bits = make("binarize", x)
    sums = make("bconv2d", bits, op_graphs.signs(rng, (4, 2, 2, 5)), attrs=ConvAttrs(pads=(1, 1, 0, 0)))
    return op_graphs.plan([x], [sums, make("maximum", x, make("sign", x))])


@pytest.mark.drawn
def test_ops_match_the_oracle(sanitized: Path, tmp_path: Path) -> None:
    """Every op on random shapes with random halos: each kernel family, micro-batch and thread count; bit for bit."""
    print(f"BNN_TEST_SEED={SEED}")
    exact: list[str] = []
    rounded: list[str] = []
    tables = (
        *((table, exact) for table in op_graphs.OPS_OF.values()),
        (op_graphs.FUNCTION_OPS, exact),
        (op_graphs.ROUNDED_OPS, rounded),
    )
    for table, cases in tables:
        for k, name in enumerate(table):
            for i in numbers(6):
                rng = np.random.default_rng([SEED, k, i, len(table)])
                graph = op_graphs.one_op(rng, name, table)
                folder = tmp_path / f"{name}-{len(table)}-{i}"
                op_graphs.write_case(folder, graph, [op_graphs.values_of(rng, 7, graph.inputs[0])])
                cases.append(str(folder))
    for tolerance, cases in (("0", exact), ("1e-6", rounded)):
        stopped = re.findall(r"(\d+) stopped", call(str(sanitized), "check", tolerance, *cases))
        assert int(stopped[0]) > 2 * len(cases), "runs that a poll stopped on the way"


@pytest.mark.drawn
def test_coded_filters_match_the_oracle(sanitized: Path, tmp_path: Path) -> None:
    print(f"BNN_TEST_SEED={SEED}")
    folders = []
    found: list[Encoding] = []
    for i in range(numbers(60).start, 300):
        if i >= numbers(60).stop and {*found} == {*Encoding}:  # few filters have the rarest
            break
        rng = np.random.default_rng([SEED, i])
        graph = op_graphs.coded_filters(rng)
        found += [shortest(node.inputs[1])[0] for node in graph.schedule if node.op == "conv2d"]
        folders.append(str(tmp_path / str(i)))
        op_graphs.write_case(Path(folders[-1]), graph, [op_graphs.integers(rng, (4, *graph.inputs[0].type.shape))])
    assert {*found} == {*Encoding}
    call(str(sanitized), "check", "0", *folders)


@pytest.mark.drawn
def test_networks_match_the_oracle(sanitized: Path, tmp_path: Path) -> None:
    """Random chains of ops: memory is shared and dirty, halos are read."""
    print(f"BNN_TEST_SEED={SEED}")
    folders = []
    for i in numbers(60):
        rng = np.random.default_rng([SEED, i])
        graph = op_graphs.network(rng, int(rng.integers(2, 12)))
        folders.append(str(tmp_path / str(i)))
        op_graphs.write_case(Path(folders[-1]), graph, [op_graphs.integers(rng, (7, *graph.inputs[0].type.shape))])
    call(str(sanitized), "check", "0", *folders)


@pytest.mark.drawn
def test_values_that_are_passed(sanitized: Path, tmp_path: Path) -> None:
    """A convolution and the pool after it, on bands of rows, which threads share and interruptions divide."""
    print(f"BNN_TEST_SEED={SEED}")
    folders, count = [], 0
    for i in numbers(60):
        rng = np.random.default_rng([SEED, i])
        graph = op_graphs.passed(rng)
        count += sum(place.storage is Storage.PASSED for place in graph.placements.values())
        folders.append(str(tmp_path / str(i)))
        op_graphs.write_case(Path(folders[-1]), graph, [op_graphs.values_of(rng, 7, graph.inputs[0])])
    assert count == len(folders)
    call(str(sanitized), "check", "0", *folders)


@pytest.mark.drawn
def test_arithmetic_in_one_pass(sanitized: Path, tmp_path: Path) -> None:
    print(f"BNN_TEST_SEED={SEED}")
    folders = []
    for i in numbers(60):
        rng = np.random.default_rng([SEED, i])
        graph = op_graphs.arithmetic(rng)
        folders.append(str(tmp_path / str(i)))
        op_graphs.write_case(Path(folders[-1]), graph, [op_graphs.values_of(rng, 7, x) for x in graph.inputs])
    call(str(sanitized), "check", "0", *folders)


def test_not_a_number(sanitized: Path, tmp_path: Path) -> None:
    """Images in which a binarized float is not a number have no number in any output; the others are not touched."""
    graph = nan_graph()
    x = op_graphs.integers(np.random.default_rng(2), (6, 3, 3, 5))
    expected = [np.array(a, np.float32) for a in interpret.outputs(graph, [x])]
    for image, channel in ((1, 0), (4, 4)):
        x[image, 2, 1, channel] = np.nan
        for output in expected:
            output[image] = np.nan
    op_graphs.write_case(tmp_path / "nan", graph, [x], expected)
    call(str(sanitized), "check", "0", str(tmp_path / "nan"))


@pytest.mark.drawn
def test_infinities_and_float_nans_follow_numpy(sanitized: Path, tmp_path: Path) -> None:
    """Without a binarization, what is not a number or not finite goes through each op as in NumPy."""
    folders = []
    for name in (
        "add", "mul", "div", "maximum", "minimum", "clamp", "sign", "max_pool", "concat", "prelu", "round", "affine",
        "pad", "pad_channels", "reshape", "slice", "gather", "copy",
    ):  # fmt: skip
        for i in numbers(4):
            rng = np.random.default_rng([SEED, i])
            graph = op_graphs.one_op(rng, name, op_graphs.FLOAT_OPS)
            x = op_graphs.integers(rng, (7, *graph.inputs[0].type.shape))
            x[rng.random(x.shape) < 0.1] = np.nan
            x[rng.random(x.shape) < 0.1] = np.inf
            x[rng.random(x.shape) < 0.1] = -np.inf
            folders.append(str(tmp_path / f"{name}-{i}"))
            op_graphs.write_case(Path(folders[-1]), graph, [x])
    call(str(sanitized), "check", "0", *folders)


@pytest.mark.slow
@pytest.mark.drawn
def test_damaged_files(sanitized: Path, tmp_path: Path) -> None:
    """Cut at every length, a fifth of the bits flipped, random numbers in its fields: an error or a result, never a
    crash."""
    print(f"BNN_TEST_SEED={SEED}")
    path = tmp_path / "model.bnn"
    graph = op_graphs.every_op()
    assert {node.op for node in graph.schedule} == {op.name for op in OPS.values() if op.opcode is not None}
    coded = {shortest(node.inputs[1])[0] for node in graph.schedule if node.op == "conv2d"}
    assert coded >= {Encoding.ONE_ROW, Encoding.COMPACT, Encoding.TABLE_4}
    path.write_bytes(encode(graph))
    count = len(numbers(400))
    counts = dict(
        re.findall(r"^(.*): (\d+)$", call(str(sanitized), "fuzz", str(path), str(seeds(400).start), str(count)), re.M)
    )
    for text, least in (("ok", 0.3), ("a field of the file is out of range", 1), ("the checksum", 1.5)):
        found = next(int(n) for t, n in counts.items() if t.startswith(text))
        assert found > least * count, f"'{text}' was reached {found} times, expected more than {least * count}"


@pytest.mark.slow
def test_damaged_files_with_little_stack(build_root: Path, tmp_path: Path) -> None:
    """BNN_SMALL: room for an op's tensors is made by what its record says, which may be wrong."""
    print(f"BNN_TEST_SEED={SEED}")
    eager = sanitizing_flags(*SANITIZE, *EAGER)

    def flags(source: Path) -> Sequence[str]:
        """The other files are compiled already."""
        small = "BNN_SMALL" in (ROOT / source).read_text(encoding="utf-8")
        return (*eager(source), *["-DBNN_SMALL"] * small)

    driver = Build(build_root / "small", flags, SANITIZE).program("runtime", DRIVER)
    every, few = tmp_path / "every.bnn", tmp_path / "few.bnn"
    graph = op_graphs.every_op()
    inputs = [len(node.inputs) for node in graph.schedule]
    assert min(inputs) <= 5 < max(inputs)
    every.write_bytes(encode(graph))
    few.write_bytes(encode(one_input_graph()))
    for path in (every, few):
        call(str(driver), "boundaries", str(path), str(SEED), "ops")


def three_files(folder: Path) -> list[Path]:
    """All ops, a trained network, and coded filters."""
    coded = op_graphs.coded_filters(np.random.default_rng(3))
    paths = [folder / "every.bnn", DIGITS, folder / "coded.bnn"]
    paths[0].write_bytes(encode(op_graphs.every_op()))
    paths[2].write_bytes(encode(coded))
    return paths


@pytest.mark.drawn
def test_damage_is_never_taken_for_a_model(sanitized: Path, tmp_path: Path) -> None:
    """Three files cut at every byte, and with every seventh bit flipped; their checksum stays as it was."""
    first, every = SEED % 7, 7
    for path in some(three_files(tmp_path)):
        size = path.stat().st_size
        answer = call(str(sanitized), "damage", str(path), str(first), str(every))
        assert answer == f"{size + len(range(first, 8 * size, every))} damaged copies, all refused\n"


@pytest.mark.parametrize("number", [*(pytest.param(slow, marks=pytest.mark.slow) for slow in (0, 1)), 2])
def test_fields_at_their_boundaries(sanitized: Path, tmp_path: Path, number: int) -> None:
    """Each of the header, the tensors and the ops, the checksum repaired: an error, or a model that runs."""
    print(f"BNN_TEST_SEED={SEED}")
    answer = call(str(sanitized), "boundaries", str(three_files(tmp_path)[number]), str(SEED))
    tried, models = map(int, re.findall(r"\d+", answer))
    assert tried > 4000 and models > tried // 50


@pytest.mark.parametrize("number", range(3))
def test_memory_that_is_not_what_was_asked_for(sanitized: Path, tmp_path: Path, number: int) -> None:
    """Too small by any number of bytes, or not aligned: refused, and untouched.  Arrays may lie at any element."""
    path, network = three_files(tmp_path)[number], tmp_path / "net.snn"
    if number != 0:
        network.write_bytes(populations(path.read_bytes()))
    answer = call(str(sanitized), "faults", str(path), *([str(network)] if number != 0 else []))
    assert ("events" in answer) == (number != 0)


def test_no_op_reads_past_its_tensors(sanitized: Path, tmp_path: Path) -> None:
    """Each of them in a block of its own; and bytes of one channel, of which a kernel would read the next three, in
    images that end up to three bytes before a line of memory does."""
    graphs = [op_graphs.every_op()]
    for size in range(60, 67):
        x = input_node("x", (1, size, 1), DType.u8)
        filters = op_graphs.signs(np.random.default_rng(size), (3, 1, 1, 1))
        zeros = constant(np.zeros(1))
        graphs.append(
            op_graphs.plan([x], [make("iconv2d", make("copy", x), filters, zeros, attrs=ConvAttrs(slots=("zeros",)))])
        )
    paths = [tmp_path / f"{i}.bnn" for i in range(len(graphs))]
    for path, graph in zip(paths, graphs, strict=True):
        path.write_bytes(encode(graph))
    call(str(sanitized), "tight", *map(str, paths))


def test_threads(sanitized: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bnn"
    path.write_bytes(encode(one_input_graph()))
    call(str(sanitized), "threads", str(path), "3")


@pytest.mark.slow
def test_threads_do_not_race(build_root: Path, tmp_path: Path) -> None:
    """The same under ThreadSanitizer, and every way of spreading networks over threads."""
    flags = ("-g", "-fsanitize=thread")
    threads = Build(build_root / "threads", sanitizing_flags(*flags, *EAGER), flags)
    driver = threads.program("runtime", DRIVER)
    path = tmp_path / "model.bnn"
    path.write_bytes(encode(one_input_graph()))
    call(str(driver), "threads", str(path), "32")
    folders = []
    for i in range(20):
        rng = np.random.default_rng([SEED, i])
        graph = op_graphs.network(rng, 8)
        folders.append(str(tmp_path / str(i)))
        op_graphs.write_case(Path(folders[-1]), graph, [op_graphs.integers(rng, (7, *graph.inputs[0].type.shape))])
    call(str(driver), "check", "0", *folders)


def test_core_allocates_nothing(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bnn"
    path.write_bytes(encode(one_input_graph()))
    assert re.search(r"\b0 during", call(str(plain), "allocations", str(path)))


@pytest.mark.usefixtures("plain")
def test_symbols(plain_build: Build) -> None:
    """All names begin with bnn_; the core has no writable globals, and calls nothing but these functions."""
    allowed = {"memcpy", "memset", "memmove", "memcmp", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    allowed |= {"sqrtf"}  # which IEEE 754 defines to the last bit
    # Choosing kernels by the processor's features and by name: hosts only.
    dispatch = {"__cpu_model", "__cpu_features2", "__cpu_indicator_init", "strcmp", "strlen"}
    found = symbols([plain_build.object_file(source) for source in sources()])
    for source in sources():
        for kind, name in found[plain_build.object_file(source)]:
            if kind in "Uu":
                known = allowed | dispatch if source.name == "dispatch.c" else allowed
                assert name.startswith("bnn_") or name in known or not is_core(source), f"{source} calls {name}"
                continue
            assert not is_core(source) or kind not in "dDbBC", f"{source}: '{name}' is a writable global"
            assert not kind.isupper() or name.startswith("bnn_"), f"{source}: '{name}' does not begin with bnn_"
