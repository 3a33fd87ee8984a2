# SPDX-License-Identifier: Apache-2.0
"""How the tests call the command: in this process, as a shell would."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnn.cli import apart, child, main


class Result:
    """Exit status and output of one call."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Call = Callable[..., Result]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """call("run", path, ...) -> Result; no call may print a traceback."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        status = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Result(status, out, err)

    return run


@pytest.fixture
def net(small: Any, tmp_path: Path) -> Path:
    """The small network as a file."""
    path = tmp_path / "net.bnn"
    path.write_bytes(small.data)
    return path


@pytest.fixture
def pair_net(two_by_two: Any, tmp_path: Path) -> Path:
    """Two inputs, two outputs."""
    path = tmp_path / "pair.bnn"
    path.write_bytes(two_by_two.data)
    return path


# Runs in each new process, and acts where a module is imported: where `bnn compile` and `bnn verify` load a file.
WATCH = """
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}" and self in sys.meta_path:
            sys.meta_path.remove(self)
            act()

sys.meta_path.insert(0, Watch())

def act():
"""


@pytest.fixture
def when_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """when_loading(code): what happens instead of, or before, TensorFlow's import, or another module's."""

    def place(code: str, module: str = "tensorflow") -> None:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
        (folder / "sitecustomize.py").write_text(WATCH.format(module=module) + lines, encoding="utf-8")
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    return place


COMMANDS = ("compile", "verify", "snn_compile", "snn_convert")  # that load a file in a process of its own


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands load models here, where frameworks are imported already; what goes to the process and comes from it is
    JSON here, too.  With the mark ``child``, they do so in a process each, as for users."""
    if request.node.get_closest_marker("child"):
        return

    class Answers:
        def __init__(self, handlers: Any) -> None:
            self.handlers = handlers

        def send(self, kind: str, value: Any = None) -> None:
            self.handlers[kind](json.loads(json.dumps(value)))

    def run(name: str, model: str, limits: Any, handlers: Any, **arguments: Any) -> Any:
        given = json.loads(json.dumps({"model": model, **arguments}))
        return apart.outcome(model, limits, *json.loads(json.dumps(child.perform(name, Answers(handlers), given))))

    for command in COMMANDS:
        monkeypatch.setattr(f"bnn.cli.{command}.run_apart", run)
