# SPDX-License-Identifier: Apache-2.0
"""bnn snn compile and verify, as a shell calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.verification.over_time import why_not
from snn.nir_graphs import chain, node, write


@pytest.fixture
def nir(tmp_path: Path) -> Path:
    """20 inputs -> 10 LIF neurons of SpikingJelly and snnTorch (tau = 2 steps of 0.1 ms, r = 2)."""
    pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    weights = np.round(np.random.default_rng(0).normal(0, 1, (10, 20)) * 8).astype(np.float32) / 8
    ones = np.ones(10, np.float32)
    return write(
        tmp_path / "net.nir",
        chain(
            input=node("Input", shape=[20]),
            fc=node("Affine", weight=weights, bias=ones / 4),
            lif=node("LIF", tau=ones * 2e-4, r=ones * 2, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones),
            output=node("Output", shape=[10]),
        ),
    )


def test_compiles_and_runs(call: Any, nir: Path, tmp_path: Path) -> None:
    target = tmp_path / "net.snn"
    done = call("snn", "compile", nir, "--as", "snntorch", "-o", target, "--json")
    assert done.status == 0, done.err
    assert done.json["dt"] == 1e-4
    assert done.json["bytes"] == target.stat().st_size and done.json["populations"][1]["neurons"] == 10
    text = call("snn", "compile", nir, "--as", "snntorch", "-o", target)
    assert "lif: 10 = 10 neurons: decay, >, reset value" in text.out
    assert "1 projection, 1 of them stored in 8 bits, exactly; a step is 100 us" in text.out
    model = bnn.snn.load(target)
    assert model.simulator == "snntorch" and model.dt == 1e-4
    run = model.run(np.ones((5, 20), np.uint8))
    assert run.output.shape == (5, 10) and 0 < run.output.sum() <= 50
    assert model.to_bytes() == bnn.snn.compile(nir, simulator="snntorch").to_bytes()


def test_wrong_calls(call: Any, nir: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.snn"
    for arguments, words in (
        (("compile", nir), "Missing option '--as'"),
        (("compile", nir, "--as", "brian"), "'brian' is not one of 'norse'"),
        (("compile", nir, "--as", "norse", "-o", net), "r = 2"),
        (("compile", nir, "--as", "snntorch", "--dt", 1, "-o", net), "and no others; leave out dt (--dt)"),
        (("compile", nir, "--as", "norse", "-o", tmp_path / "net.bnn"), "expected a name ending in .snn"),
        (("compile", nir, "--as", "snntorch", "-o", tmp_path / "no" / "net.snn"), "there is no folder"),
        (("verify", net, net), "does not exist"),
        (("verify", nir, net), "net.snn"),
        (("verify", nir, net, "--data", "x.npy", "--seed", 1), "--seed is for random samples"),
    ):
        done = call("snn", *arguments)
        assert done.status == 2 and words in done.err, (arguments, done.err)
    net.write_bytes(b"\x89BNN\r\n\x1a\n" + bytes(200))
    assert "second byte of the signature" in call("snn", "verify", nir, net).err
    assert "is a compiled network" in call("snn", "verify", net, net).err


@pytest.mark.parametrize("simulator", ["spikingjelly", "snntorch"])  # neurons of both hold their own state
def test_verifies(call: Any, nir: Path, tmp_path: Path, simulator: str) -> None:
    if reason := why_not(simulator):
        pytest.skip(reason)
    net = tmp_path / "net.snn"
    assert call("snn", "compile", nir, "--as", simulator, "-o", net).status == 0
    done = call("snn", "verify", nir, net, "--samples", 2, "--steps", 40, "--json")
    assert done.status == 0, done.out + done.err
    assert done.json["ok"] and done.json["proven"] and done.json["oracle"] == 0
    (layer,) = done.json["layers"]
    assert layer["fed"] == layer["alone"] == 0 and layer["decisions"] == 800 and layer["spikes"] > 50
    np.save(tmp_path / "x.npy", (np.random.default_rng(1).random((3, 10, 20)) < 0.3).astype(np.float32))
    text = call("snn", "verify", nir, net, "--data", tmp_path / "x.npy")
    assert text.status == 0 and "3 x 10 steps" in text.out and text.out.rstrip().endswith("OK")
    np.save(tmp_path / "x.npy", np.zeros((3, 20), np.float32))
    assert "found shape (3, 20)" in call("snn", "verify", nir, net, "--data", tmp_path / "x.npy").err
    other = tmp_path / "other.nir"
    other.write_bytes(nir.read_bytes())
    import h5py

    with h5py.File(other, "r+") as file:
        file["node/nodes/fc/bias"][0] = 0.5
    refused = call("snn", "verify", other, net)
    assert refused.status == 2 and "was not compiled from this file" in refused.err


def test_the_packages_that_are_missing_are_named(call: Any, nir: Path, tmp_path: Path) -> None:
    if not why_not("spikingjelly"):
        pytest.skip("SpikingJelly is installed")
    net = tmp_path / "net.snn"
    assert call("snn", "compile", nir, "--as", "spikingjelly", "-o", net).status == 0
    done = call("snn", "verify", nir, net)
    assert done.status == 2 and "pip install 'bnn-compiler[spiking]'" in done.err
