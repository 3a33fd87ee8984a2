# SPDX-License-Identifier: Apache-2.0
"""bnn inspect and bench; wrong use of any command."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.cli import main
from bnn.cli.app import application


def test_inspect(call: Any, net: Path) -> None:
    done = call("inspect", net)
    assert done.status == 0 and done.err == ""
    for words in ("input 'image': float32 (N, 12, 12, 1)", "Graph", "bconv2d", "note", "Memory", "arena:"):
        assert words in done.out


def test_inspect_json(call: Any, net: Path) -> None:
    record = call("inspect", net, "--json").json
    model = bnn.load(net)
    assert record["bytes"] == net.stat().st_size and len(record["layers"]) == len(record["graph"]) == len(model.ops)
    assert record["inputs"] == [{"name": "image", "shape": [12, 12, 1], "dtype": "float32"}]
    for a in record["memory"]:
        assert {(op["output"], op["layer"]) for op in record["graph"]} >= {(a["tensor"], a["layer"])}
        assert 0 <= a["begin"] < a["end"] <= record["arena_bytes"]
        for b in record["memory"]:  # those alive together do not overlap
            if a is not b and a["from_op"] <= b["to_op"] and b["from_op"] <= a["to_op"]:
                assert a["end"] <= b["begin"] or b["end"] <= a["begin"]


def test_bench(call: Any, net: Path) -> None:
    done = call("bench", net, "--batch", "1,4", "--threads", "1,2", "--repeats", 3)
    assert done.status == 0 and "median us" in done.out and "conv_b" in done.out
    record = call("bench", net, "--repeats", 3, "--no-layers", "--kernels", "scalar", "--json").json
    assert record["kernels"] == "scalar" and record["profiles"] == []
    assert [(run["batch"], run["threads"]) for run in record["runs"]] == [(1, 1), (32, 1)]


@pytest.mark.parametrize("command", sorted(application.commands))
def test_every_command_has_help(call: Any, command: str) -> None:
    done = call(command, "--help")
    assert done.status == 0 and "Usage: bnn" in done.out


@pytest.mark.parametrize("command", ["run", "inspect", "bench"])
def test_bad_files_are_status_2_on_stderr(call: Any, net: Path, tmp_path: Path, command: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 12, 12, 1), np.float32))
    rest = [tmp_path / "x.npy"] if command == "run" else []
    damaged = tmp_path / "damaged.bnn"
    damaged.write_bytes(net.read_bytes()[:-1])
    for path, words in ((damaged, "length"), (tmp_path / "absent.bnn", "No such file"), (tmp_path, "irectory")):
        done = call(command, path, *rest)
        assert done.status == 2 and done.out == "" and words in done.err and str(path) in done.err


def test_wrong_use(call: Any, net: Path) -> None:
    wrong = [("inspct",), ("run",), ("run", net), ("inspect", net, "--wrong"), ("run", net, "x", "--scale", "0")]
    for arguments in wrong:
        done = call(*arguments)
        assert done.status == 2 and done.err and done.out == ""
    assert call("--version").out.strip() == f"bnn-compiler {bnn.__version__}"


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "inspect", str(tmp_path / "absent.bnn")]) == 2  # 1 would be a difference
    err = capsys.readouterr().err
    assert "Traceback" in err and "absent.bnn: cannot be opened" in err.splitlines()[-1]


def test_help_names_every_exit_status(call: Any) -> None:
    words = " ".join(call("--help").out.split())
    assert (
        "Exit status: 0: success; 1: a comparison found a difference; 2: wrong usage or bad input; 130: Ctrl-C" in words
    )


@pytest.mark.parametrize("command", ["inspect", "bench"])
def test_a_pipe_is_no_model(call: Any, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = call(command, tmp_path / "pipe")
    assert done.status == 2 and "not a regular file but a pipe" in done.err


def test_a_reader_that_goes_away(net: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bnn", "inspect", str(net)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=Path(bnn.__file__).parents[1],
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0


@pytest.mark.parametrize("package", ["click", "rich", "another"])
def test_without_a_package_it_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "click.py").write_text(f"raise ImportError('no', name='{package}')")
    monkeypatch.delitem(sys.modules, "click")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no") if package == "another" else nullcontext():
        assert main(["--help"]) == 2
        assert f"needs the package {package}: pip install 'click<" in capsys.readouterr().err


def test_a_shell_completes(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the script that is printed; bash runs it."""
    (tmp_path / "bnn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnn "$@"\n', encoding="utf-8")
    (tmp_path / "bnn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ask = 'eval "$(bnn completion bash)"; COMP_WORDS=({}); COMP_CWORD={}; _bnn_completion bnn; echo ${{COMPREPLY[@]}}'
    for words, found in (("bnn com", "compile completion"), ("bnn emit c net --tra", "--trace"), ("bnn no", "")):
        line = ask.format(words, words.count(" "))
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (f"{found}\n", ""), words
    for shell in ("zsh", "fish"):
        assert "_bnn_completion" in call("completion", shell).out
    for wrong in ("bash_complete", "tcsh_complete", "x"):
        monkeypatch.setenv("_BNN_COMPLETE", wrong)
        done = call("compile")
        assert done.status == 2 and f"found _BNN_COMPLETE={wrong}, expected SHELL_complete" in done.err


def test_a_wrong_environment_is_the_users_fault(call: Any, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNN_KERNELS", "mmx")
    done = call("inspect", net)
    assert done.status == 2 and "BNN_KERNELS" in done.err


def test_compile_refuses_before_it_starts(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.bnn", "net.h5"):
        (tmp_path / name).write_bytes(b"")
    for arguments, words in (
        (["net.bnn"], "net.bnn: is a compiled network"), (["absent.h5"], "absent.h5"),
        (["net.h5", "-o", "net.h5"], "would overwrite the input"), (["net.h5", "--input-dtype", "int16"], "int16"),
        (["net.h5", "-o", "no/net.bnn"], "there is no folder"),
        (["net.h5", "--input-shape", "8,0,3"], "expected something like 32,32,3"),
    ):  # fmt: skip
        done = call("compile", *arguments)
        assert done.status == 2 and words in done.err, arguments
