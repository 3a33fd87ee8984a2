# SPDX-License-Identifier: Apache-2.0
"""The rules that keep the tree readable: who may import whom, and what must not be in a file."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path

from bnn.runtime.build import INCLUDE_FLAGS, headers, sources
from sanitized import call, symbols

ROOT = Path(__file__).resolve().parents[1]
LICENCE = "SPDX-License-Identifier: Apache-2.0"


# Each room of csrc/, and the others whose headers it may include.
C_ROOMS: dict[str, set[str]] = {
    "include": set(),
    "model": {"include", "kernels"},
    "run": {"include", "model", "kernels"},
    "ops": {"include", "model", "run", "mcu", "kernels"},
    "snn": {"include", "model", "kernels"},
    "coding": {"include", "model", "run", "snn", "kernels"},
    "mcu": {"kernels"},
    "host": {"include"},
}


def test_imports_run_one_way() -> None:
    """The contracts are in pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_kernels_know_nothing_of_models() -> None:
    """Below kernels/ only kernels' own headers are included; the dispatcher implements a part of bnn.h."""
    for path in [*(ROOT / "kernels").rglob("*.[ch]"), *(ROOT / "kernels").rglob("*.inc")]:
        for name in re.findall(r'#\s*include\s*"([^"]+)"', path.read_text(encoding="utf-8")):
            inside = (path.parent / name).resolve().is_relative_to(ROOT / "kernels")
            assert inside or path.name == "dispatch.c", f"{path.relative_to(ROOT)} includes {name}"


def test_vectors_and_instruction_sets_stay_in_their_families() -> None:
    """csrc/ and kernels/scalar/ are plain C11; a thread that waits awake says so to the processor, if it can.

    The standard's own pragma stays out of the sight of gcc, which warns of it.
    """
    extension = re.compile(
        r"__attribute__|__asm__|__builtin_|_Pragma|#\s*pragma (?!STDC )|immintrin|arm_neon|wasm_|(?<!!defined )__GNUC__"
    )
    found = [
        f"{path}: {line.strip()}"
        for path in [*sources(), *headers()]
        if path.startswith(("csrc/", "kernels/scalar/")) and path != "csrc/host/pool.c"
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines()
        if extension.search(line)
    ]
    assert not found, "\n".join(found)


def c_includes(path: str) -> list[str]:
    """What a file of csrc/ includes of the project's own, from the root of the repository.

    Public headers are named alone, others by their paths below csrc/ or kernels/: a file can move without them.
    """
    names = re.findall(r'#\s*include\s*"([^"]+)"', (ROOT / path).read_text(encoding="utf-8"))
    found = []
    for name in names:
        places = [f"{folder}/{name}" for folder in ("csrc/include", "csrc", "kernels")]
        matches = [place for place in places if (ROOT / place).is_file()]
        assert len(matches) == 1, f"{path} includes '{name}', which is none or several of {places}"
        found += matches
    return found


def test_csrc_is_rooms() -> None:
    assert {path.name for path in (ROOT / "csrc").iterdir()} == set(C_ROOMS)


def test_c_includes_run_one_way() -> None:
    graph = {path: c_includes(path) for path in [*sources("core", "host"), *headers()] if path.startswith("csrc/")}
    for path, included in graph.items():
        room = path.split("/")[1]
        for name in included:
            other = name.split("/")[1] if name.startswith("csrc/") else "kernels"
            assert other == room or other in C_ROOMS[room], (
                f"{path} includes {name}, but '{room}' must not see '{other}'"
            )
    TopologicalSorter(graph).prepare()  # raises CycleError, with the circle


def test_the_page_names_what_a_room_of_c_includes() -> None:
    """Other rooms and kernels' headers; public headers go without saying."""
    page = (ROOT / "docs/maintainers/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `csrc/(\w+)/` \|.*\|([^|]*)\|$", page, flags=re.MULTILINE)
    assert {room for room, _ in rows} == set(C_ROOMS)
    for room, may in rows:
        files = [path for path in [*sources("core", "host"), *headers()] if path.startswith(f"csrc/{room}/")]
        names = {name for path in files for name in c_includes(path) if not name.startswith("csrc/include/")}
        found = {name.split("/")[1] if name.startswith("csrc/") else name for name in names} - {room}
        assert found == {name for name in re.findall("`([^`]+)`", may) if not name.startswith("bnn")}, room


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def test_frameworks_are_imported_when_called() -> None:
    """`import bnn` stays light, whichever module it comes to import; and the page says which read .tflite files."""
    frameworks = {"tensorflow", "tf_keras", "keras", "larq", "torch", "onnx", "onnxruntime", "tflite", "flatbuffers",
                  "h5py", "nir", "ray", "pyarrow", "matplotlib", "PIL"}  # fmt: skip
    readers = set()
    for path in (ROOT / "bnn").rglob("*.py"):
        tree = parsed(path)
        for node in ast.walk(tree):
            named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found = {name.partition(".")[0] for name in named} & frameworks
            assert not found or node not in tree.body, f"{path} imports {found} at its top"
            readers |= {path.name} if found & {"tflite", "flatbuffers"} else set()
    assert readers == {"file.py"}


def test_c_files_call_each_other_one_way(tmp_path: Path) -> None:
    """No file of csrc/ needs a symbol of one that needs, itself or through others, a symbol of the first.

    The rows of ops are data by which opening a file finds what it then calls, and no way that an include goes.
    """
    compiler = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O0", *INCLUDE_FLAGS]
    files = sources("core", "host")

    objects = {source: tmp_path / source.replace("/", "_") for source in files}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda source: call(*compiler, "-c", source, "-o", str(objects[source])), files))
    kinds, found = symbols(list(objects.values())), {}
    for source, target in objects.items():
        defined = {name for kind, name in kinds[target] if kind.isupper() and kind != "U"}
        needed = {name for kind, name in kinds[target] if kind == "U" and not name.startswith("bnn_op_row_")}
        found[source] = defined, needed
    home = {name: source for source, (defined, _) in found.items() for name in defined}
    graph = {source: {home[name] for name in needed if name in home} for source, (_, needed) in found.items()}
    assert sum(map(len, graph.values())) > len(files)
    TopologicalSorter(graph).prepare()  # raises CycleError, with the circle
    outside = {name for source in sources("core") for name in found[source][1] if not name.startswith(("bnn_", "_"))}
    assert outside <= {"memcpy", "memset", "strcmp", "strlen", "sqrtf", "floorf", "ceilf", "fabsf", "copysignf"}


def test_the_core_does_no_input_and_allocates_nothing() -> None:
    allowed = {"stddef.h", "stdint.h", "string.h", "math.h", "float.h", "limits.h"}
    allowed |= {"immintrin.h", "arm_neon.h", "arm_acle.h", "arm_mve.h", "wasm_simd128.h"}
    core = [*sources("core", "kernels"), *(path for path in headers() if not path.startswith("csrc/host/"))]
    for path in map(ROOT.joinpath, core):
        text = path.read_text(encoding="utf-8")
        extra = set(re.findall(r"#\s*include\s*<([^>]+)>", text)) - allowed
        assert not extra, f"{path.relative_to(ROOT)} includes {extra}: that belongs in csrc/host"
        assert not re.search(r'#\s*include\s*"(.*/)?(bnn_)?host(\.h|/)', text), (
            f"{path.relative_to(ROOT)} includes csrc/host"
        )


def source_files() -> list[Path]:
    """What people write."""
    suffixes = {".py", ".pyi", ".c", ".h", ".inc", ".js", ".md", ".toml", ".in"}
    folders = [ROOT / name for name in ("bnn", "csrc", "kernels", "tests", "tools", "docs", "examples")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    paths += [
        path
        for path in ROOT.iterdir()
        if path.suffix in suffixes or path.name in ("Makefile", "CMakeLists.txt", ".gitignore")
    ]
    return sorted(path for path in [*paths, ROOT / ".ci/run"] if path.is_file())


def test_nothing_unfinished_or_personal_is_left() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|#\s*if\s+0\b|(?<![\w.])/(root|home|Users|work)/\w")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in source_files()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert not found, "\n".join(found)


def test_nobody_is_sent_to_another_package() -> None:
    """`pip install bnn` and `bnn[extra]` name a stranger's project."""
    wrong = re.compile(r"\bbnn\[[a-z]|pip install [^`#]*\bbnn\b(?![-/.\w])")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in source_files()
        if path != Path(__file__).resolve()
        for line in path.read_text(encoding="utf-8").splitlines()
        if wrong.search(line)
    ]
    assert not found, "\n".join(found)


def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_ops.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_headers_are_the_only_copy_of_the_api() -> None:
    """Every function of the public header is callable from Python: cffi's declarations were read from it."""
    from bnn._native import lib

    header = (ROOT / "csrc/include/bnn.h").read_text(encoding="utf-8")
    functions = set(re.findall(r"^(?!typedef)[\w ]+[ *](bnn_\w+)\(", header, flags=re.M))
    assert len(functions) > 20 and functions <= set(dir(lib)), functions - set(dir(lib))
    assert set(re.findall(r"X\((BNN_\w+), \d+", header)) <= set(dir(lib))


def test_source_files_name_their_licence() -> None:
    """In their first line, or in the second of a program."""
    without, named = [], ("Makefile", "CMakeLists.txt", "run")
    for path in source_files():
        if path.suffix in (".py", ".pyi", ".c", ".h", ".inc", ".js") or path.name in named:
            lines = path.read_text(encoding="utf-8").splitlines()
            first = next((line for line in lines if not line.startswith("#!")), "")
            if first not in (f"# {LICENCE}", f"/* {LICENCE} */", f"// {LICENCE}"):
                without.append(str(path.relative_to(ROOT)))
    assert not without, f"begin these with '# {LICENCE}', or a comment of C or JavaScript: {without}"


def test_no_class_name_is_used_twice() -> None:
    """A reader who meets a name knows which class it is."""
    places = defaultdict[str, list[str]](list)
    for path in (ROOT / "bnn").rglob("*.py"):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(ROOT).as_posix())
    assert not {name: found for name, found in places.items() if len(found) > 1}
