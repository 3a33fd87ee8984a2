# SPDX-License-Identifier: Apache-2.0
"""bnn score in one process: every picture and row once, in order, whatever happened on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[score]'")

import pyarrow
from PIL import Image

import bnn
from bnn.cli.inputs import InputOptions
from bnn.cli.scoring import PLAN, Job, find_parts, planned
from uses import using

from .scored import DIGITS, NAMES, expected, network, pictures, png, results, write


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return network(tmp_path)


def test_folders(call: Any, net: Path, tmp_path: Path) -> None:
    """In parts; a damaged picture has a row that says why, and those around it have their own results.  A link to a
    folder above is not followed: nothing counts twice, and its Parquet files are not the input."""
    pixels = pictures(25)
    (tmp_path / "photos/deep").mkdir(parents=True)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"photos/{'deep/' if i % 2 else ''}{i:02}.png")
    (tmp_path / "photos/up").symlink_to(tmp_path)
    write(tmp_path / "other.parquet", [b"x"], pyarrow.binary(), 1)
    (tmp_path / "photos/07x.png").write_bytes(png(pixels[0])[:60])
    done = call("score", net, "--input", tmp_path / "photos", "--output", tmp_path / "out", "--rows", 10)
    assert done.status == 2 and "wrote 26 rows in 3 files" in done.out and "1 row without a result" in done.err
    rows, (classes, scores) = results(tmp_path / "out"), expected(pixels)
    (bad,) = (row for row in rows if row["error"])
    assert bad["file"].endswith("/07x.png") and "damaged image" in bad["error"] and bad["class"] is bad["score"] is None
    good = [row for row in rows if row is not bad]
    numbers = [int(Path(row["file"]).stem) for row in good]
    assert sorted(numbers) == [*range(25)] and [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    assert [(r["class"], r["label"], np.float32(r["score"])) for r in good] == [
        (classes[i], NAMES[classes[i]], scores[i]) for i in numbers
    ]


@pytest.mark.parametrize("kind", ["binary", "struct", "list"])
def test_parquet(call: Any, net: Path, tmp_path: Path, kind: str) -> None:
    """Pictures, pictures as Hugging Face has them, and the network's own inputs; empty values and wrong lengths."""
    pixels = pictures(12)
    if kind == "list":
        values: list[Any] = [(x.reshape(-1) / np.float32(255)).tolist() for x in pixels.astype(np.float32)]
        values[5], values[7], of = None, [1.0, 2.0], pyarrow.list_(pyarrow.float32())
    else:
        values, of = [png(x) for x in pixels], pyarrow.binary()
        values[5], values[7] = None, b"no picture"
    if kind == "struct":
        values = [{"path": f"{i}", "bytes": value} for i, value in enumerate(values)]
        of = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    file = write(tmp_path / "a[1].parquet", values, of, 5)
    given = ("score", net, "--input", tmp_path / "a*.parquet", "--output", str(tmp_path / "out"), "--scores")
    done = call(*given, "--json")
    assert done.status == 2 and done.json == {"rows": 12, "errors": 2, "files": 3, "output": given[5]}
    rows, (classes, _) = results(tmp_path / "out"), expected(pixels)
    assert [(row["file"], row["row"]) for row in rows] == [(str(file), i) for i in range(12)]
    assert [i for i, row in enumerate(rows) if row["error"]] == [5, 7] and "(null)" in rows[5]["error"]
    scores = bnn.load(DIGITS)(pixels[..., None].astype(np.float32) / np.float32(255))
    for i, row in enumerate(rows):
        if i not in (5, 7):
            assert row["class"] == classes[i] and np.array_equal(np.float32(row["scores"]), scores[i])


def test_a_killed_run_goes_on(net: Path, tmp_path: Path, call: Any) -> None:
    """Killed in the middle, again and again: the files are those of a run that nobody killed."""
    file = write(tmp_path / "a.parquet", [png(x) for x in pictures(50)] * 40, pyarrow.binary(), 50)
    call("score", net, "--input", file, "--output", tmp_path / "whole")
    command = [sys.executable, "-m", "bnn", "score", str(net), "--input", str(file), "--output", str(tmp_path / "cut")]
    seen: list[int] = []
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and len([*(tmp_path / "cut").glob("part-*")]) < (seen[-1] if seen else 0) + 3:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(len([*(tmp_path / "cut").glob("part-*")]))
    assert 0 < seen[0] < seen[1] < 40
    assert f"{50 * seen[1]:,} rows scored before" in call(*command[3:]).err
    whole, cut = ({p.name: p.read_bytes() for p in (tmp_path / name).glob("part-*")} for name in ("whole", "cut"))
    assert len(whole) == 40 and whole == cut


def test_what_is_refused(call: Any, net: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [png(x) for x in pictures(4)], pyarrow.binary(), 4)
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other").touch()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no PAR1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links/gone.png").symlink_to("nothing")
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8, 1), np.float32))
    out, other = tmp_path / "out", tmp_path / "other"
    assert call("score", net, "--input", file, "--output", out).status == 0
    none = write(tmp_path / "none.parquet", [], pyarrow.binary(), 4)
    assert "wrote 0 rows" in call("score", net, "--input", none, "--output", tmp_path / "nothing").out
    for arguments, message in (
        ([file, "--output", out, "--scores"], "another run (other: options); give another folder"),
        ([tmp_path / "a.png", "--output", out], "another run (other: input, rows"),
        ([file, "--output", tmp_path / "full"], "is not empty, and holds no _plan.json"),
        ([file, "--input", tmp_path / "a.png", "--output", other], "expected one kind"),
        ([tmp_path / "no/*.png", "--output", other], "found no file, expected a folder, a file, or a pattern"),
        ([tmp_path / "links", "--output", other], "or a link to one; remove it from the input"),
        ([tmp_path / "empty", "--output", other], "found no picture in this folder"),
        ([tmp_path / "a.npy", "--output", other], "found an array, expected pictures or Parquet files; use bnn run"),
        ([tmp_path, "--output", other], "lies inside the input"),
        ([tmp_path / "bad.parquet", "--output", other], "not a Parquet file that can be read"),
        (
            [file, "--output", "/proc/none"],
            "/proc/none: cannot be made: No such file or directory; give another folder",
        ),
        ([file, "--output", other, "--column", "key"], "found picture, expected 'key'"),
    ):
        done = call("score", net, "--input", *arguments)
        assert done.status == 2 and message in done.err
    using({}, inputs=2).save(tmp_path / "two.bnn")
    done = call("score", tmp_path / "two.bnn", "--input", file, "--output", other)
    assert done.status == 2 and "found a network with 2 inputs, expected one; use bnn run" in done.err
    assert not other.exists()  # so that the command, put right, begins


def test_a_run_that_fails_at_once_takes_its_plan_back(call: Any, net: Path, tmp_path: Path) -> None:
    """So that the command, put right, begins; but not from another run, nor where a part is there."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(pictures(1)[0][:4]).save(photos / "b.png")
    command = ("score", net, "--input", photos, "--output", out)
    job = Job(str(net), str(out), InputOptions(None, 0.0, False), NAMES, None, False, False, None)
    with planned(job, find_parts([str(photos)], 4096, None), 4096, take_back=True):
        done = call(*command)
        assert "give --resize" in done.err and os.listdir(out) == [PLAN]
    assert "results of another run (other: options)" in call(*command, "--resize").err
    assert call(*command).status == 2 and os.listdir(out) == []
    assert call(*command, "--resize").status == 0
    Image.fromarray(pictures(1)[0]).save(photos / "a.png")
    command = (*command[:-1], tmp_path / "other", "--rows", 1)
    assert call(*command).status == 2 and sorted(os.listdir(tmp_path / "other")) == [PLAN, "part-000000.parquet"]
