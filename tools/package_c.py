# SPDX-License-Identifier: Apache-2.0
"""Write the C runtime as a library for microcontrollers: one folder that Arduino, PlatformIO, ESP-IDF and Zephyr take.

    python tools/package_c.py library FOLDER    write the library; docs/howto/c.md says where to put it
    python tools/package_c.py array NET.bnn     print a network as an array in C

Nothing has to be installed or built before.  The C files are those of bnn/runtime/build.py without csrc/host.  In the
library they include each other by relative paths and say themselves what the compiler must not do: no build tool has to
pass flags, and only the public headers can be seen from outside.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = runpy.run_path(str(ROOT / "bnn/runtime/build.py"))  # not imported: that would need the extension
PUBLIC = "csrc/include/"
HOST = "csrc/include/bnn_host.h"
AUTHORS = "The bnn authors"
SENTENCE = "Runs compiled binarized neural networks."
PARAGRAPH = (
    "Networks whose weights and activations are +1 and -1, trained with Larq or Keras and compiled by bnn-compiler, "
    "run with the same results, to the bit, as on a computer. Strict C11; all memory is the caller's."
)
# Arduino's cores for processors of 32 bits that have room for a network.
ARCHITECTURES = (
    "sam", "samd", "mbed", "mbed_edge", "mbed_giga", "mbed_nano", "mbed_nicla", "mbed_opta", "mbed_portenta",
    "mbed_rp2040", "renesas_portenta", "renesas_uno", "rp2040", "esp32", "stm32", "STM32F1", "nrf52", "teensy",
    "zephyr",
)  # fmt: skip

BEGIN = """\
#define BNN_SMALL /* bnn.h says how */
/* Fused multiply-adds would change results. */
#if defined __clang__
#pragma STDC FP_CONTRACT OFF
#elif defined __GNUC__
#pragma GCC optimize("fp-contract=off")
#endif
"""
README = """\
# bnn: the C runtime

{sentence} {paragraph}

Version {version}, as a library for Arduino and PlatformIO, a component for ESP-IDF and a module for Zephyr. `src/bnn.h`
is the reference; `examples/Digits` is a sketch with a network in it. Written by
`tools/package_c.py` of the sources of bnn-compiler {version}, which have the documentation, too: `docs/howto/c.md`.
"""
KCONFIG = """\
# SPDX-License-Identifier: Apache-2.0
config BNN
\tbool "bnn: compiled binarized neural networks"
\tselect REQUIRES_FULL_LIBC
\thelp
\t  The C runtime of bnn, which runs compiled binarized neural networks.
"""
ZEPHYR = """\
# SPDX-License-Identifier: Apache-2.0
if(CONFIG_BNN)
    zephyr_include_directories(../src)
    zephyr_library_named(bnn)
    zephyr_library_sources(
{sources})
endif()
"""
ESP_IDF = """\
# SPDX-License-Identifier: Apache-2.0
idf_component_register(
    INCLUDE_DIRS src
    SRCS
{sources})
"""


def place(path: str) -> str:
    """Where a file of the repository is in the library; public headers stand alone where includes are looked for."""
    return "src/" + (path.removeprefix(PUBLIC) if path.startswith(PUBLIC) else path)


def included(path: str, name: str) -> str:
    """The file that one of the runtime's files includes by this name, both from the root of the repository."""
    places = [Path(path).parent, *map(Path, BUILD["INCLUDE"])]
    found = [(ROOT / folder / name).resolve() for folder in places if (ROOT / folder / name).is_file()]
    if not found:
        raise SystemExit(f"package_c: {path} includes '{name}', which is nowhere in {', '.join(map(str, places))}")
    return found[0].relative_to(ROOT).as_posix()


def moved(path: str) -> str:
    """The text of one of the runtime's files for its place in the library."""

    def include(match: re.Match[str]) -> str:
        target = place(included(path, match[2]))
        return f'{match[1]}"{Path(relpath(target, Path(place(path)).parent)).as_posix()}"'

    text = re.sub(r'^(\s*#\s*include\s+)"([^"]+)"', include, (ROOT / path).read_text(encoding="utf-8"), flags=re.M)
    if not path.endswith(".c"):
        return text
    licence, rest = text.split("\n", 1)
    return f"{licence}\n{BEGIN}{rest}"


def array(name: str, data: bytes) -> str:
    """A network as an array, for C11 and C++11."""
    lines = ["    " + " ".join(f"{byte}," for byte in data[i : i + 24]) for i in range(0, len(data), 24)]
    body = "\n".join(lines)
    return (
        f"#ifdef __cplusplus\nalignas(BNN_ALIGNMENT)\n#else\n_Alignas(BNN_ALIGNMENT)\n#endif\n"
        f"static const unsigned char {name}[{len(data)}] = {{\n{body}\n}};\n"
    )


def digits() -> str:
    """The network and the image of the sketch."""
    image = ", ".join(f"{float(word)}f" for word in (ROOT / "examples/seven.txt").read_text(encoding="utf-8").split())
    network = array("digits", (ROOT / "examples/digits.bnn").read_bytes())
    return (
        f"/* SPDX-License-Identifier: Apache-2.0 */\n/* A network, and an image for it. */\n#include <bnn.h>\n\n"
        f"{network}\nstatic const float seven[64] = {{{image}}};\n"
    )


def metadata(sources: Sequence[str], headers: Sequence[str]) -> dict[str, str]:
    """The files by which the build tools know the library: their paths and texts."""
    version = BUILD["version"]()
    properties = {
        "name": "bnn",
        "version": version,
        "author": AUTHORS,
        "maintainer": AUTHORS,
        "sentence": SENTENCE,
        "paragraph": PARAGRAPH,
        "category": "Data Processing",
        "architectures": ",".join(ARCHITECTURES),
        "includes": "bnn.h",
    }
    library = {
        "name": "bnn",
        "version": version,
        "description": f"{SENTENCE} {PARAGRAPH}",
        "keywords": ["neural network", "binarized", "machine learning", "inference"],
        "authors": [{"name": AUTHORS}],
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": list(headers),
        "examples": [{"name": "Digits", "base": "examples/Digits", "files": ["Digits.ino", "digits.h"]}],
    }
    component = {"version": version, "description": SENTENCE, "license": "Apache-2.0"}
    module = "name: bnn\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n"
    return {
        "README.md": README.format(sentence=SENTENCE, paragraph=PARAGRAPH, version=version),
        "LICENSE": (ROOT / "LICENSE").read_text(encoding="utf-8"),
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "library.json": json.dumps(library, indent=2) + "\n",
        "idf_component.yml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in component.items()),
        "CMakeLists.txt": ESP_IDF.format(sources="\n".join(f"        {path}" for path in sources)),
        "zephyr/module.yml": f"# SPDX-License-Identifier: Apache-2.0\n{module}",
        "zephyr/Kconfig": KCONFIG,
        "zephyr/CMakeLists.txt": ZEPHYR.format(sources="\n".join(f"        ../{path}" for path in sources)),
    }


def library() -> dict[str, str]:
    """All files of the library: their paths in its folder and their texts."""
    code = [*BUILD["sources"]("core", "kernels"), *BUILD["headers"]()]
    files = {place(path): moved(path) for path in code if path != HOST}
    sources = [path for path in files if path.endswith(".c")]
    headers = [path.removeprefix("src/") for path in files if path.count("/") == 1]
    sketch = (ROOT / "examples/arduino/Digits/Digits.ino").read_text(encoding="utf-8")
    examples = {"examples/Digits/Digits.ino": sketch, "examples/Digits/digits.h": digits()}
    return {**metadata(sources, headers), **files, **examples}


def write(folder: Path) -> None:
    """Write the library into a folder that is empty or does not exist."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SystemExit(f"package_c: {folder} exists; name a new or empty folder")
    for path, text in library().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("library", help="write the library").add_argument("folder", type=Path, metavar="FOLDER")
    commands.add_parser("array", help="print a network as an array in C").add_argument("file", type=Path, metavar="NET")
    chosen = parser.parse_args(arguments)
    if chosen.command == "library":
        write(chosen.folder)
        return
    try:
        data = chosen.file.read_bytes()
    except OSError as error:
        raise SystemExit(f"package_c: {error}") from error
    sys.stdout.write(array(re.sub(r"\W|^(?=\d)", "_", chosen.file.stem), data))


if __name__ == "__main__":
    main()
