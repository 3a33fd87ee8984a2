# SPDX-License-Identifier: Apache-2.0
"""The library for microcontrollers: what its build tools ask of it, and its results on two processors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import package_c
from bnn._version import __version__
from bnn.runtime import Model
from bnn.runtime.build import sources
from targets import HERE, TARGETS, build, execute, missing, run
from targets.test_interpreter import c_array

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples/digits.bnn"
VERSION = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"

# What Arduino's core declares, as far as the sketch uses it; floats are printed as their bits.
ARDUINO = """
#include <stdint.h>
#include <string.h>
extern "C" {
#include "target.h"
}
struct Printer {
    void begin(unsigned long) {}
    void print(const char *text) { target_print(text); }
    void print(int number) { target_bytes("number", &number, sizeof number); }
    void print(double number, int) { float f = static_cast<float>(number); target_bytes("float", &f, sizeof f); }
    void println(unsigned long number) { print(static_cast<int>(number)); }
    void println(const char *text) { print(text); target_print("\\n"); }
};
static Printer Serial;
static unsigned long micros() { return 3; }
static void delay(unsigned long) {}
#include "Digits.ino"
int main() { setup(); loop(); return 0; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command, in a folder without the extension and by a Python without packages."""
    folder = tmp_path_factory.mktemp("library") / "bnn"
    subprocess.run([sys.executable, "-I", "-S", ROOT / "tools/package_c.py", "library", folder], check=True)
    return folder


@pytest.fixture
def image() -> Any:
    text = (ROOT / "examples/seven.txt").read_text(encoding="utf-8")
    return np.array(text.split(), np.float32).reshape(1, 8, 8, 1)


def c_files(library: Path) -> list[str]:
    return sorted(path.relative_to(library).as_posix() for path in library.rglob("*.c"))


def test_the_files_are_those_of_the_package(library: Path) -> None:
    assert c_files(library) == sorted(f"src/{path}" for path in sources("core", "kernels"))
    headers = {path.name for path in (library / "src").iterdir() if path.is_file()}
    assert headers == {path.name for path in (ROOT / "csrc/include").iterdir()} - {"bnn_host.h"}
    for path in (library / "src").rglob("*.*"):
        for name in re.findall(r'#\s*include\s*"([^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path} includes {name}"


def test_arduino(library: Path) -> None:
    """By https://docs.arduino.cc/arduino-cli/library-specification and arduino-lint's rules; only `url` is not there:
    the library has no page."""
    lines = (library / "library.properties").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert len(fields) == len(lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "architectures"}
    assert required <= set(fields) <= required | {"includes", "depends", "dot_a_linkage"}
    assert all(value and value == value.strip() for value in fields.values())
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-]{0,15}", fields["name"])
    assert re.fullmatch(VERSION, fields["version"]) and fields["version"] == __version__
    assert "arduino" not in f"{fields['name']}{fields['maintainer']}".lower()
    assert fields["category"] == "Data Processing"
    assert re.fullmatch(r"\w+(,\w+)*", fields["architectures"])
    assert all((library / "src" / name).is_file() for name in fields["includes"].split(","))
    sketches = [path.relative_to(library).as_posix() for path in library.rglob("*.ino")]
    assert sketches == ["examples/Digits/Digits.ino"]  # a sketch has the name of its folder


def test_platformio(library: Path) -> None:
    """By https://docs.platformio.org/en/latest/manifests/library-json and the schema of PlatformIO's own reader."""
    manifest = json.loads((library / "library.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[^:;/,@<>]{1,100}", manifest["name"])
    assert re.fullmatch(VERSION, manifest["version"]) and manifest["version"] == __version__
    assert manifest["license"] == "Apache-2.0" and 0 < len(manifest["description"]) <= 1000
    assert all(re.fullmatch(r"[a-z\d\-_+. ]{1,50}", word) for word in manifest["keywords"])
    assert all(1 <= len(author["name"]) <= 100 for author in manifest["authors"])
    assert manifest["frameworks"] == manifest["platforms"] == "*"
    assert manifest["headers"] and all((library / "src" / name).is_file() for name in manifest["headers"])
    for example in manifest["examples"]:
        assert re.fullmatch(r"[a-zA-Z\d\-_/. ]{1,255}", example["name"])
        assert all((library / example["base"] / name).is_file() for name in example["files"])


def yaml(path: Path) -> dict[str, Any]:
    """The little of YAML that is used: strings by names, in one or two levels."""
    result: dict[str, Any] = {}
    inner: dict[str, Any] = result
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"(  )?([a-z-]+):(?: (.+))?", line)
        assert match is not None, line
        target = inner if match[1] else result
        assert match[2] not in target
        if match[3] is None:
            inner = target[match[2]] = {}
        else:
            target[match[2]] = json.loads(match[3]) if match[3].startswith('"') else match[3]
    return result


def cmake(script: str, folder: Path) -> list[str]:
    """What a script of CMake prints, by words."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed; on Debian: apt-get install cmake")
    (folder / "script.cmake").write_text(script, encoding="utf-8")
    done = subprocess.run(["cmake", "-P", folder / "script.cmake"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def test_esp_idf(library: Path, tmp_path: Path) -> None:
    """By https://docs.espressif.com/projects/idf-component-manager/en/latest/reference/manifest_file.html."""
    manifest = yaml(library / "idf_component.yml")
    assert set(manifest) == {"version", "description", "license"}
    assert re.fullmatch(VERSION, manifest["version"]) and manifest["version"] == __version__
    assert manifest["license"] == "Apache-2.0" and (library / "LICENSE").is_file() and (library / "README.md").is_file()
    stub = 'function(idf_component_register)\nmessage("${ARGN}")\nendfunction()\n'
    (arguments,) = cmake(f"{stub}include({library}/CMakeLists.txt)\n", tmp_path)
    assert arguments.split(";") == ["INCLUDE_DIRS", "src", "SRCS", *arguments.split(";")[3:]]
    assert sorted(arguments.split(";")[3:]) == c_files(library)


def test_the_component_is_packed(library: Path, tmp_path: Path) -> None:
    if shutil.which("compote") is None:
        pytest.skip("compote is not installed; from the Python index: idf-component-manager")
    folder = tmp_path / "bnn"
    shutil.copytree(library, folder)
    subprocess.run(["compote", "component", "pack", "--name", "bnn"], cwd=folder, check=True)
    assert (folder / f"dist/bnn_{__version__}.tgz").is_file()


def test_zephyr(library: Path, tmp_path: Path) -> None:
    """By https://docs.zephyrproject.org/latest/develop/modules.html and scripts/schemas/module-schema.yaml."""
    assert yaml(library / "zephyr/module.yml") == {
        "name": "bnn",
        "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"},
    }
    assert re.search(r'^config BNN\n\tbool "', (library / "zephyr/Kconfig").read_text(encoding="utf-8"), flags=re.M)
    names = ("zephyr_include_directories", "zephyr_library_named", "zephyr_library_sources")
    stubs = "".join(f'function({name})\nmessage("${{ARGN}}")\nendfunction()\n' for name in names)
    assert cmake(f"{stubs}include({library}/zephyr/CMakeLists.txt)\n", tmp_path) == []
    include, name, files = cmake(f"set(CONFIG_BNN y)\n{stubs}include({library}/zephyr/CMakeLists.txt)\n", tmp_path)
    assert (include, name) == ("../src", "bnn")
    assert sorted(files.split(";")) == [f"../{path}" for path in c_files(library)]


@pytest.mark.slow
def test_the_sketch_on_a_cortex_m4(library: Path, image: Any, tmp_path: Path) -> None:
    """As Arduino builds it: the sketch as C++, the library in a gnu mode of C, where gcc contracts."""
    (tmp_path / "sketch.cpp").write_text(ARDUINO, encoding="utf-8")
    flags = ["-Os", "-fno-exceptions", f"-I{library / 'src'}", f"-I{library / 'examples/Digits'}"]
    files = [tmp_path / "sketch.cpp", *(library / path for path in c_files(library))]
    program = build(TARGETS["cortex-m4"], files, flags, folder=tmp_path)
    output = execute(TARGETS["cortex-m4"], program)
    (expected,) = Model.from_bytes(DIGITS.read_bytes())(image)
    best = expected.argmax()
    assert (
        output.split()
        == (
            f"a number {np.int32(best).tobytes().hex()} , probability float {expected[best].tobytes().hex()} "
            f", in microseconds: number {np.int32(0).tobytes().hex()}"
        ).split()
    )
    # This image would not show every contraction.
    code = subprocess.run(["arm-none-eabi-objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    assert "vmul.f32" in code and not re.search(r"\bvfn?m[as]", code)


@pytest.mark.slow
def test_outputs(library: Path, image: Any, tmp_path: Path) -> None:
    """With all families of kernels, without a flag that the library needs."""
    data = DIGITS.read_bytes()
    (expected,) = Model.from_bytes(data)(image)
    text = f"enum {{ IMAGES = 1, INPUT_BYTES = {image.nbytes}, OUTPUTS = {expected.size}, MEMORY = 1 << 18 }};\n"
    text += c_array("file", data) + c_array("inputs", image.tobytes())
    (tmp_path / "model.inc").write_text(text, encoding="utf-8")
    files = [HERE / "interpreter.c", *(library / path for path in c_files(library))]
    flags = ["-std=gnu11", "-O1", f"-I{library / 'src'}", f"-I{tmp_path}"]
    output = run(TARGETS["host-clang"], files, flags, folder=tmp_path)
    assert f"output {expected.tobytes().hex()}\n" in output


@pytest.mark.slow
def test_clang_does_not_contract(library: Path) -> None:
    """By default it does, where the processor can."""
    if text := missing(TARGETS["aarch64"]) or missing(TARGETS["host-clang"]):
        pytest.skip(text)
    command = ["clang-19", "--target=aarch64-linux-gnu", "-isystem", "/usr/aarch64-linux-gnu/include", "-std=gnu11"]
    files = [f"-I{library / 'src'}", library / "src/kernels/scalar/scalar.c"]
    code = subprocess.run([*command, "-O1", "-S", *files, "-o", "-"], check=True, capture_output=True, text=True).stdout
    assert "fmul" in code and not re.search(r"\bf(n?m(add|sub)|ml[as])\b", code)


def test_a_network_as_an_array(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "2-net.bnn"
    path.write_bytes(bytes(range(256)))
    package_c.main(["array", str(path)])
    text = capsys.readouterr().out
    assert "alignas(BNN_ALIGNMENT)\n" in text and "static const unsigned char _2_net[256] = {" in text
    assert bytes(map(int, re.findall(r"\d+(?=,)", text))) == bytes(range(256))
    with pytest.raises(SystemExit, match=r"package_c: .*none\.bnn"):
        package_c.main(["array", str(tmp_path / "none.bnn")])


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    with pytest.raises(SystemExit, match="name a new or empty folder"):
        package_c.main(["library", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
