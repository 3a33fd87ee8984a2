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

    return Installed(kind, once(folder / "installed", install), folder / "build")


def run(program: Path, installed: Installed | None = None) -> None:
    """The example's output is Python's, to the last bit."""
    image = (EXAMPLES / "seven.txt").read_text(encoding="utf-8")
    done = subprocess.run(
        [program, EXAMPLES / "digits.bnn"],
        input=image, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(installed.prefix / "lib") if installed else ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    x = np.array(image.split(), np.float32).reshape(1, 8, 8, 1)
    (expected,) = Model.from_bytes((EXAMPLES / "digits.bnn").read_bytes())(x)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(number) for number, _ in lines] == list(range(10))
    assert np.array([value for _, value in lines], np.float32).tobytes() == expected.tobytes()
    assert expected.argmax() == 7
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    assert ("libbnn" in linked) == (installed is not None and installed.kind == "shared")


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
    for wrong in ("3 5\n2 5\n", "0 128\n", "0 4294967296\n", "0 1\none 2\n", "0 1\n3", "-1 5\n", "40 5\n"):
        done = run_spikes(tmp_path / "spikes", tmp_path, wrong, installed)
        assert done.returncode == 1 and "an argument" in done.stderr, wrong
    done = run_spikes(tmp_path / "spikes", tmp_path, events, installed, steps=())
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


@pytest.mark.slow
def test_pkg_config(installed: Installed, tmp_path: Path) -> None:
    """By the line of the page."""
    need("pkg-config", "cc")
    (line,) = re.findall(r"^(cc .*pkg-config.*) -o run$", PAGE, flags=re.M)
    path = str(installed.prefix / "lib/pkgconfig")
    call("sh", "-c", f"{line} -o {shlex.quote(str(tmp_path / 'run'))}", PKG_CONFIG_PATH=path)
    run(tmp_path / "run", installed)
    assert call("pkg-config", "--modversion", "bnn", PKG_CONFIG_PATH=path) == f"{__version__}\n"


@pytest.mark.slow
def test_without_build_tools(tmp_path: Path) -> None:
    """By the other line of the page."""
    need("cc")
    (line,) = re.findall(r"^(cc .*build\.py.*) -o run$", PAGE, flags=re.M)
    call("sh", "-c", f"{line} -o {shlex.quote(str(tmp_path / 'run'))}")
    run(tmp_path / "run")


def test_the_page_shows_the_example() -> None:
    for language, name in (("c", "run.c"), ("c", "spikes.c"), ("cmake", "CMakeLists.txt")):
        text = (EXAMPLES / "c" / name).read_text(encoding="utf-8").partition("\n")[2]
        assert f'```{language} title="{name}"\n{text}```\n' in PAGE, name


@pytest.mark.slow
def test_errors_of_the_example(installed: Installed, tmp_path: Path) -> None:
    need("pkg-config", "cc")
    command = f"cc examples/c/run.c $(pkg-config --cflags --libs bnn) -o {shlex.quote(str(tmp_path / 'run'))}"
    call("sh", "-c", command, PKG_CONFIG_PATH=str(installed.prefix / "lib/pkgconfig"))
    damaged = bytearray((EXAMPLES / "digits.bnn").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.bnn").write_bytes(damaged)
    image = (EXAMPLES / "seven.txt").read_text(encoding="utf-8")
    for arguments, text, message in (
        (["damaged.bnn"], image, "the checksum does not match"),
        (["none.bnn"], image, "could not be opened"),
        (["damaged.bnn"], "0 0 seven", "an argument"),
        ([], image, "usage: "),
        (["damaged.bnn", "seven.txt"], image, "usage: "),
    ):
        done = subprocess.run(
            [tmp_path / "run", *arguments],
            cwd=tmp_path, input=text, capture_output=True, text=True, check=False,
            env={**os.environ, "LD_LIBRARY_PATH": str(installed.prefix / "lib")},
        )  # fmt: skip
        assert done.returncode == (2 if message == "usage: " else 1) and message in done.stderr
