# SPDX-License-Identifier: Apache-2.0
"""Build the C extension; everything else about the package stands in pyproject.toml."""

from __future__ import annotations

import os
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py


class ParallelBuildExt(build_ext):
    """Compiles the extension's source files side by side."""

    def build_extensions(self) -> None:
        compile_in_turn = self.compiler.compile

        def compile_together(sources: list[str], *args: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                objects = pool.map(lambda source: compile_in_turn([source], *args, **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_together
        super().build_extensions()


class BuildWithSources(build_py):
    """Puts the C files that `bnn emit c` copies into the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for path in runpy.run_path("bnn/emit/c/sources.py")["files"]():
            target = Path(self.build_lib, "bnn/emit/c/runtime", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(path, str(target))


setup(
    cffi_modules=["bnn/runtime/build.py:ffibuilder"],
    cmdclass={"build_ext": ParallelBuildExt, "build_py": BuildWithSources},
    # cffi keeps to the stable ABI: one wheel serves every Python from 3.10 on.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
