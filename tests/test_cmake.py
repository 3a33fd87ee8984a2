# SPDX-License-Identifier: Apache-2.0
"""The runtime as a C programmer gets it: built and installed by CMake, found by CMake and pkg-config, and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bnn._version import __version__
from bnn.runtime import Model
from bnn.runtime.build import sources
from bnn.snn import build
from built import once
from op_cases import CONV
from raw_model import B1, CONSTANT, F32, INPUT, OUTPUT, SLOTS, U8, Net, Op, Tensor
from snn.small import SIDE, small_network

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs/howto/c.md").read_text(encoding="utf-8")
INTERFACE = __version__.rpartition(".")[0]  # versions that differ in the last number alone are compatible
HEADERS = {"bnn.h", "bnn_events.h", "bnn_host.h", "bnn_ops.h", "bnn_snn.h"}
# The shared library belongs to a project whose own flags would change results.
BUILDS = {
    "static": ("-DCMAKE_BUILD_TYPE=Debug",),
    "shared": ("-DBUILD_SHARED_LIBS=ON", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS=-O1 -ffast-math -march=native"),
}


def call(*command: str | Path, **environment: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed; on Debian: apt-get install {tool}")


@dataclass(frozen=True)
class Installed:
    kind: str
    prefix: Path
    build: Path

    @property
    def library(self) -> Path:
        return self.prefix / "lib" / ("libbnn.so" if self.kind == "shared" else "libbnn.a")


@pytest.fixture(scope="module", params=BUILDS)
def installed(request: pytest.FixtureRequest, build_root: Path) -> Installed:
    """Built once in a run, for another folder than it is installed in."""
    need("cmake", "make")
    kind = request.param
    folder = build_root / f"cmake-{kind}"

    def install(prefix: Path) -> None:
        flags = (
            "-DCMAKE_INSTALL_PREFIX=/nowhere",
            "-DCMAKE_INSTALL_LIBDIR=lib",
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
        )
        call("cmake", "-S", ROOT, "-B", folder / "build", *flags, *BUILDS[kind])
        call("cmake", "--build", folder / "build", "--parallel", "2")
        call("cmake", "--install", folder / "build", "--prefix", prefix)

    return Installed(kind, once(folder / ".local", install), folder / "build")


def run(program: Path, installed: Installed) -> None:
    """The example's output is Python's, to the last bit."""
    image = (EXAMPLES / "seven.txt").read_text(encoding="utf-8")
    done = subprocess.run(
        [program, EXAMPLES / "digits.bnn"],
        input=image, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(installed.prefix / "lib")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    x = np.array(image.split(), np.float32).reshape(1, 8, 8, 1)
    (expected,) = Model.from_bytes((EXAMPLES / "digits.bnn").read_bytes())(x)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(number) for number, _ in lines] == list(range(10))
    assert np.array([value for _, value in lines], np.float32).tobytes() == expected.tobytes()
    assert expected.argmax() == 7
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    assert ("libbnn" in linked) == (installed.kind == "shared")


def run_spikes(
    program: Path, folder: Path, events: str, installed: Installed, steps: Sequence[str] = ("40",)
) -> subprocess.CompletedProcess[str]:
    """Run the other example on a network that is saved in the folder."""
    model = build(small_network())
    model.save(folder / "net.snn")
    return subprocess.run(
        [program, folder / "net.snn", *steps],
        input=events, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(installed.prefix / "lib")},
    )  # fmt: skip


def compiled(folder: Path) -> dict[str, list[str]]:
    """The C files of a build, from the root of the repository, and their flags."""
    commands = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
    return {Path(c["file"]).relative_to(ROOT).as_posix(): shlex.split(c["command"]) for c in commands}


@pytest.mark.slow
def test_the_sources_are_those_of_the_package(installed: Installed) -> None:
    found = compiled(installed.build)
    assert sorted(found) == sources()
    for flags in found.values():
        assert {"-std=c11", "-ffp-contract=off"} <= set(flags)
        assert "-ffast-math" not in flags or flags.index("-fno-fast-math") > flags.index("-ffast-math")


def test_without_a_system_there_are_no_files_and_threads(tmp_path: Path) -> None:
    need("cmake", "make")
    flags = ("-DCMAKE_SYSTEM_NAME=Generic", "-DBNN_SMALL=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    call("cmake", "-S", ROOT, "-B", tmp_path, *flags, "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY")
    found = compiled(tmp_path)
    assert sorted(found) == sources("core", "kernels")
    assert all("-DBNN_SMALL" in flags and "-DBNN_NO_MESSAGES" not in flags for flags in found.values())
    assert "bnn_host.h" not in (tmp_path / "cmake_install.cmake").read_text(encoding="utf-8")
    assert "pthread" not in (tmp_path / "bnn.pc").read_text(encoding="utf-8")


def test_a_part_of_another_project(tmp_path: Path) -> None:
    """As FetchContent includes it: the same target, and nothing of it is installed."""
    need("cmake", "make")
    project = (EXAMPLES / "c/CMakeLists.txt").read_text(encoding="utf-8")
    project = project.replace("find_package(bnn 0.1 REQUIRED)", f"add_subdirectory({ROOT} bnn)")
    (tmp_path / "CMakeLists.txt").write_text(project, encoding="utf-8")
    for name in ("run.c", "spikes.c"):
        shutil.copy(EXAMPLES / "c" / name, tmp_path)
    call("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    assert "libbnn.a" in (tmp_path / "build/CMakeFiles/run.dir/link.txt").read_text(encoding="utf-8")
    assert "libbnn" not in (tmp_path / "build/bnn/cmake_install.cmake").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_installed(installed: Installed) -> None:
    files = {path.relative_to(installed.prefix).as_posix() for path in installed.prefix.rglob("*") if path.is_file()}
    libraries = {f"lib/libbnn.so{end}" for end in ("", f".{INTERFACE}", f".{__version__}")}
    assert files == {
        *(f"include/{name}" for name in HEADERS),
        *(libraries if installed.kind == "shared" else {"lib/libbnn.a"}),
        "lib/pkgconfig/bnn.pc",
        *(path for path in files if re.fullmatch(r"lib/cmake/bnn/bnn-(config|targets)(-\w+)?\.cmake", path)),
    }
    assert {"lib/cmake/bnn/bnn-config.cmake", "lib/cmake/bnn/bnn-config-version.cmake"} <= files


@pytest.mark.slow
def test_symbols(installed: Installed) -> None:
    """Every symbol has the prefix; a shared library exports what the headers declare, and nothing else."""
    shared = installed.kind == "shared"
    lines = call("nm", "-D" if shared else "-g", "--defined-only", installed.library).splitlines()
    symbols = {line.split()[2] for line in lines if len(line.split()) == 3}
    assert len(symbols) > 50 and "bnn_run" in {name.partition("@")[0] for name in symbols}
    if not shared:
        assert not {name for name in symbols if not name.startswith("bnn_")}
        return
    declared = set()
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", (ROOT / "csrc/include" / header).read_text(encoding="utf-8"), flags=re.S)
        declared |= set(re.findall(r"^(?!typedef)(?:\w+[ *]+)+\**(bnn_\w+)(?=\(|;)", text, flags=re.M))
    assert symbols == {f"{name}@@BNN_{INTERFACE}" for name in declared} | {f"BNN_{INTERFACE}"}


@pytest.mark.slow
def test_find_package(installed: Installed, tmp_path: Path) -> None:
    call("cmake", "-S", EXAMPLES / "c", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed.prefix}")
    call("cmake", "--build", tmp_path)
    run(tmp_path / "run", installed)


@pytest.mark.slow
def test_spikes_of_the_example(installed: Installed, tmp_path: Path, rng: np.random.Generator) -> None:
    """Those of Python; events that are out of order, of no neuron, or no numbers are errors."""
    call("cmake", "-S", EXAMPLES / "c", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed.prefix}")
    call("cmake", "--build", tmp_path, "--target", "spikes")
    x = rng.random((40, 128)) < 0.1
    np.save(tmp_path / "spikes.npy", x)
    (line,) = re.findall(r"^python (-c '.*savetxt.*')", PAGE, flags=re.M)
    call("sh", "-c", f"cd {shlex.quote(str(tmp_path))} && {sys.executable} {line}")
    events = (tmp_path / "events.txt").read_text(encoding="utf-8")
    assert events == "".join(f"{step} {neuron}\n" for step, neuron in np.argwhere(x))
    done = run_spikes(tmp_path / "spikes", tmp_path, events, installed)
    assert (done.returncode, done.stderr) == (0, "")
    frames = np.moveaxis(x.reshape(40, SIDE, SIDE, 2), -1, 1)
    spikes = np.argwhere(build(small_network()).run(frames).output)
    assert len(spikes) > 10
    assert [[int(word) for word in line.split()] for line in done.stdout.splitlines()] == spikes.tolist()
    for wrong, reason in (
        ("3 5\n2 5\n", "they are not in the order of steps"),
        ("0 128\n", "the input has no such neuron"),
        ("0 4294967296\n", "the input has no such neuron"),
        ("0 1\none 2\n", "a line is not a step and a neuron"),
        ("0 1\n3", "a line is not a step and a neuron"),
        ("-1 5\n", "there is one after the last step"),
        ("40 5\n", "there is one after the last step"),
    ):
        done = run_spikes(tmp_path / "spikes", tmp_path, wrong, installed)
        assert (done.returncode, done.stderr) == (1, f"the events: {reason}\n"), wrong
    done = run_spikes(tmp_path / "spikes", tmp_path, events, installed, steps=())
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    for steps in ("abc", "-1", "4x", ""):
        done = run_spikes(tmp_path / "spikes", tmp_path, events, installed, steps=(steps,))
        assert (done.returncode, done.stderr) == (1, f"{steps}: STEPS is a whole number\n"), steps


@pytest.mark.slow
def test_pkg_config(installed: Installed, tmp_path: Path) -> None:
    """By the line of the page."""
    need("pkg-config", "cc")
    (line,) = re.findall(r"^(cc .*pkg-config.*) -o run$", PAGE, flags=re.M)
    # The page installs into $HOME/.local.
    call("sh", "-c", f"{line} -o {shlex.quote(str(tmp_path / 'run'))}", HOME=str(installed.prefix.parent))
    run(tmp_path / "run", installed)
    path = str(installed.prefix / "lib/pkgconfig")
    assert call("pkg-config", "--modversion", "bnn", PKG_CONFIG_PATH=path) == f"{__version__}\n"


def test_without_build_tools() -> None:
    """By that line of docs/maintainers/runtime.md which tests/runtime/test_build_line.py runs."""
    other = (ROOT / "docs/maintainers/runtime.md").read_text(encoding="utf-8")
    ((flags, files),) = re.findall(r"^(cc .*) program\.c (.*) -lm -pthread -o program$", other, flags=re.M)
    named = "$(python3 bnn/runtime/build.py)"
    for name in ("run", "spikes"):
        assert f"\n{flags} examples/c/{name}.c {named} -lm -pthread -o {name}\n" in PAGE
    assert sorted(call("sh", "-c", f"echo {files}").split()) == sorted(call("sh", "-c", f"echo {named}").split())


def test_the_page_shows_the_example() -> None:
    for language, name in (("c", "run.c"), ("c", "spikes.c"), ("cmake", "CMakeLists.txt")):
        text = (EXAMPLES / "c" / name).read_text(encoding="utf-8").partition("\n")[2]
        assert f'```{language} title="{name}"\n{text}```\n' in PAGE, name


@pytest.mark.slow
def test_errors_of_the_example(installed: Installed, tmp_path: Path) -> None:
    need("pkg-config", "cc")
    command = f"cc examples/c/run.c $(pkg-config --cflags --libs bnn) -o {shlex.quote(str(tmp_path / 'run'))}"
    call("sh", "-c", command, PKG_CONFIG_PATH=str(installed.prefix / "lib/pkgconfig"))
    digits = (EXAMPLES / "digits.bnn").read_bytes()
    image = (EXAMPLES / "seven.txt").read_text(encoding="utf-8")
    signs, zeros = Tensor(B1, (10, 1, 1, 64), CONSTANT), Tensor(F32, (64,), CONSTANT)
    bytes_attrs = {**CONV, "slots": SLOTS["zeros"]}
    for name, data in {
        "damaged": digits[:-1] + bytes([digits[-1] ^ 1]),
        "larger": network("softmax", 3072, Tensor(F32, (3072,), INPUT)),
        "bytes": network("iconv2d", 10, Tensor(U8, (1, 1, 64), INPUT), signs, zeros, **bytes_attrs),
        "two": network("add", 64, Tensor(F32, (64,), INPUT), Tensor(F32, (64,), INPUT)),
        "digits": digits,
        "text": image.encode(),
    }.items():
        (tmp_path / f"{name}.bnn").write_bytes(data)
    (tmp_path / "folder.bnn").mkdir()
    other = "this program is for 64 floats and 10"
    unknown = "not the kind of file expected: .bnn, or .snn for spikes over time"
    for net, text, message in (
        ("damaged", image, "the checksum does not match: the file is damaged: header: checksum"),
        ("none", image, "No such file or directory"),
        ("folder", image, "Is a directory"),
        ("text", image, f"{unknown}: header: first wrong byte of the signature"),
        ("larger", image, f"reads 3072 floats and gives 3072 floats; {other}"),
        ("bytes", image, f"reads 64 bytes and gives 10 floats; {other}"),
        ("two", image, "has more than one input or output"),
        *(("digits", text, "") for text in ("", "0 0 seven", image + "1", image + "x")),
    ):
        done = run_in(tmp_path, installed, f"{net}.bnn", text=text)
        message = f"{net}.bnn: {message}" if message else "the image: expected 64 numbers from 0 to 1, and nothing else"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n")
    for arguments in ((), ("digits.bnn", "seven.txt")):
        done = run_in(tmp_path, installed, *arguments, text=image)
        assert done.returncode == 2 and done.stderr.startswith("usage: ")


def network(op: str, outputs: int, *inputs: Tensor, **attrs: int) -> bytes:
    """A file of one op."""
    shape = (1, 1, outputs) if op == "iconv2d" else (outputs,)
    return Net([Op(op, inputs, Tensor(F32, shape, OUTPUT), attrs)]).bytes()


def run_in(folder: Path, installed: Installed, *arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "run", *arguments],
        cwd=folder, input=text, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(installed.prefix / "lib")},
    )  # fmt: skip
