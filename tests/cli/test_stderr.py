# SPDX-License-Identifier: Apache-2.0
"""Where stderr is closed, full or not there: bars, spinners and notes are lost, but not the work and its status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.cli import main
from bnn.runtime.progress import progress, waiting


class Broken(io.StringIO):
    """A terminal that is gone: every write fails."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def full() -> Any:
    return Path("/dev/full").open("w", encoding="utf-8")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Callable[[], Any]] = {
    "none": lambda: None, "closed": closed, "gone": Broken, "full": full,
}  # fmt: skip


@pytest.fixture(params=STREAMS)
def stderr(request: pytest.FixtureRequest) -> Iterator[None]:
    with redirect_stderr(STREAMS[request.param]()):
        yield


@pytest.fixture(params=["rich", "plain"])
def bar(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        for name in ("rich.console", "rich.progress"):
            monkeypatch.setitem(sys.modules, name, None)


def test_predict(small: Any, stderr: None, bar: None) -> None:
    model = bnn.Model.from_bytes(small.data)
    x = small.inputs(50)[0]
    assert np.array_equal(model.predict(x, progress=True, batch_size=7), model(x))


def test_a_bar_that_fails_later(bar: None) -> None:
    """The work's own errors pass, those of the bar do not."""
    with redirect_stderr(io.StringIO()), pytest.raises(ZeroDivisionError), progress("work", 3) as advance:
        advance(1)
        with redirect_stderr(Broken()):
            advance(1)
            advance("no number")  # type: ignore[arg-type]
            raise ZeroDivisionError
    with redirect_stderr(Broken()), pytest.raises(KeyboardInterrupt), waiting("work") as say:
        say("more")
        raise KeyboardInterrupt


def test_a_bar_counts(bar: None) -> None:
    with redirect_stderr(io.StringIO()) as stream, progress("work", 3) as advance:
        advance(1)
        advance(2)
    assert "work" in stream.getvalue() and "3/3" in stream.getvalue()


def test_commands(stderr: None, net: Path, small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = small.inputs(120)[0]
    x[0, 0, 0] = np.nan  # a note
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "one.npy", x[1])
    # capsys has put a stream of its own in place of stdout only
    assert main(["run", str(net), str(tmp_path / "x.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 120
    assert main(["bench", str(net), "--repeats", "3", "--no-layers"]) == 0
    assert main(["events", str(net), str(tmp_path / "one.npy")]) == 0
    assert main(["run", str(net), str(tmp_path / "absent.npy")]) == 2
    assert main(["--debug", "run", str(net), str(tmp_path / "absent.npy")]) == 2
    assert main(["run", "--wrong"]) == 2


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_in_a_shell(net: Path, tmp_path: Path, when_loading: Any, streams: str) -> None:
    """Standard streams that are closed, whose numbers files then take; also those of the process that loads a model."""
    when_loading("import os, bnn; os.write(2, b'noise'); raise bnn.CompileError('no')")
    (tmp_path / "model.keras").write_bytes(b"")
    sums = "sum(3**i * main(c.split()) for i, c in enumerate(sys.argv[1:]))"
    code = f"import sys; from bnn.cli import main; sys.exit({sums})"
    commands = f"'compile model.keras -o out.bnn' 'inspect {net}' 'inspect absent.bnn'"
    text = f"""exec '{sys.executable}' -c "{code}" {commands} {streams}"""
    paths = {"PYTHONPATH": f"{tmp_path / 'site'}:{Path(bnn.__file__).parents[1]}"}
    done = subprocess.run(["sh", "-c", text], cwd=tmp_path, env={**os.environ, **paths})
    assert done.returncode == 2 * 1 + 0 * 3 + 2 * 9


@pytest.mark.child
def test_compile(stderr: None, tmp_path: Path, when_loading: Any, capfd: pytest.CaptureFixture[str]) -> None:
    when_loading("import bnn; print('loading'); raise bnn.CompileError('no')")
    (tmp_path / "model.keras").write_bytes(b"")
    assert main(["compile", str(tmp_path / "model.keras"), "-o", str(tmp_path / "out.bnn")]) == 2
    assert capfd.readouterr().out == "loading\n"
