# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: CPU seconds per file and per kind, those of children included.

    make test ARGS="-p costs"
    .venv/bin/python -m pytest -n 2 -p costs tests/emit

Kinds: "imports" (collecting a file), "python" (its tests and fixtures in the process), "compilers", "children" (Python
and the command), "emulators", "others".
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KINDS = ("imports", "python", "compilers", "children", "emulators", "others")
_CHILDREN = (
    ("compilers", re.compile(r"(.*-)?(cc|gcc|g\+\+|c\+\+|clang|clang\+\+|tcc|ld|ar|cmake|make|zig)(-\d+)?$")),
    ("children", re.compile(r"(python|bnn)[\d.]*$")),
    ("emulators", re.compile(r"(qemu|wasm|node|chrom).*$")),
)
_ROWS = 40


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config), "costs of files")


class Costs:
    """Seconds by (file, kind); workers send theirs to the process that prints the table."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.seconds, self.file = config, Counter[tuple[str, str]](), ""
        waited = subprocess.Popen._try_wait  # type: ignore[attr-defined]

        def wait(child: Any, flags: int) -> tuple[int, int]:
            before = _of_children()
            found: tuple[int, int] = waited(child, flags)
            command = child.args if isinstance(child.args, (str, bytes)) else child.args[0]
            name = Path(os.fsdecode(command).split()[0]).name
            kind = next((kind for kind, names in _CHILDREN if names.match(name)), "others")
            if self.file:  # the workers are children, too
                self.seconds[self.file, kind] += _of_children() - before
            return found

        subprocess.Popen._try_wait = wait  # type: ignore[attr-defined]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        begun = time.process_time()
        yield
        if isinstance(collector, pytest.Module):
            self.seconds[collector.nodeid, "imports"] += time.process_time() - begun

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.file, begun = item.nodeid.partition("::")[0], time.process_time()
        yield
        self.seconds[self.file, "python"] += time.process_time() - begun

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["costs"] = [(*key, n) for key, n in self.seconds.items()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for file, kind, seconds in getattr(node, "workeroutput", {}).get("costs", ()):
            self.seconds[file, kind] += seconds

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        files, kinds = Counter[str](), Counter[str]()
        for (file, kind), seconds in self.seconds.items():
            files[file] += seconds  # type: ignore[assignment]
            kinds[kind] += seconds  # type: ignore[assignment]
        terminalreporter.section("CPU seconds")
        rows = [("all", kinds), *((f, {k: self.seconds[f, k] for k in KINDS}) for f, _ in files.most_common(_ROWS))]
        terminalreporter.write_line("".join(f"{kind:>11}" for kind in ("all", *KINDS)))
        for name, row in rows:
            cells = (sum(row.values()), *(row[kind] for kind in KINDS))
            terminalreporter.write_line("".join(f"{seconds:>11.1f}" for seconds in cells) + f"  {name}")


def _of_children() -> float:
    """CPU seconds of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system
