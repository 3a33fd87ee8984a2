# SPDX-License-Identifier: Apache-2.0
"""bnn score on Ray: two workers, one of which is killed, give the files of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

import numpy as np
import pyarrow

from bnn.cli import main

from .scored import network, pictures, png, write

PARTS = 60


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def workers() -> list[int]:
    """The processes of Ray that run the network."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_two_workers(tmp_path: Path, capfd: pytest.CaptureFixture[str], kill: bool) -> None:
    net = network(tmp_path)
    coloured = np.tile(np.array([255, 0, 0], np.uint8), (8, 8, 1))
    values = [png(coloured), *(png(x) for x in pictures(399))] * PARTS
    file = write(tmp_path / "a.parquet", values, pyarrow.binary(), 400)
    common = ["score", str(net), "--input", str(file), "--output"]
    assert main([*common, str(tmp_path / "local")]) == 0
    lost = f" and {PARTS - 1} others: colours become grey"
    assert lost in capfd.readouterr().err
    command = [sys.executable, "-m", "bnn", *common, str(tmp_path / "ray"), "--on", "ray", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if kill:
        found: list[int] = []
        while process.poll() is None and (len(parts(tmp_path / "ray")) < 3 or len(found := workers()) < 2):
            time.sleep(0.01)  # on a busy machine the second begins late
        assert len(parts(tmp_path / "ray")) < PARTS and len(found) == 2
        os.kill(found[0], signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and f"wrote {400 * PARTS:,} rows in {PARTS} files" in out
    assert lost in err
    assert parts(tmp_path / "ray") == parts(tmp_path / "local")


@pytest.mark.slow
def test_an_error_of_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Is told as by one process, without Ray's traceback, and is not tried again."""
    file = write(tmp_path / "a.parquet", [png(pictures(1)[0][:4])], pyarrow.binary(), 1)
    command = ["score", str(network(tmp_path)), "--input", str(file), "--output", str(tmp_path / "out")]
    texts = []
    for more in ([], ["--on", "ray", "--workers", "1"]):
        assert main([*command, *more]) == 2
        texts.append([line for line in capfd.readouterr().err.splitlines() if line.startswith("bnn: ")])
    assert texts[0] == texts[1] and "the image is 8 x 4, the model reads 8 x 8" in texts[0][0]
