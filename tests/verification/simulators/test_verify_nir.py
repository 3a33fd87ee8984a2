# SPDX-License-Identifier: Apache-2.0
"""Emitted files in the importers that people use: every spike of every layer, and that a broken file is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import Model, emit_nir
from bnn._types import Array
from bnn.emit.nir.write import PROFILES
from bnn.errors import InputError, ModelFileError, ModelFormatError, ModelNotFoundError
from bnn.snn.simulators import IMPORTERS
from bnn.verification.nir import verify_nir


def needs(importer: str, profile: str) -> None:
    if profile not in IMPORTERS[importer].profiles:
        pytest.skip(IMPORTERS[importer].why_not)


def images(model: Model, count: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (count, *model.input_shapes[0])) / 256).astype(np.float32)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_spike_is_the_runtimes(importer: str, network: Model, profile: str, tmp_path: Path) -> None:
    needs(importer, profile)
    emit_nir(network, tmp_path / "net.nir", profile=profile)
    report = verify_nir(tmp_path / "net.nir", network, images(network, 50), importer, batch_size=20)
    assert report.ok, str(report)
    (run,) = report.runs
    assert run.images == 50 and run.mismatched == run.outside == run.classes_different == 0
    assert sum(layer.compared for layer in run.layers) >= 50 * 60


def test_leaky_neurons_stream_without_a_reset(importer: str, model: Model, tmp_path: Path) -> None:
    """16 frames one after the other, 5 streams side by side: nothing of a frame is left in the next."""
    needs(importer, "lif")
    emit_nir(model, tmp_path / "net.nir", profile="lif")
    report = verify_nir(tmp_path / "net.nir", model, images(model, 80), importer, batch_size=5, stream=True)
    assert report.ok, str(report)


def test_streaming_is_seen_to_fail_where_neurons_remember(model: Model, tmp_path: Path) -> None:
    """The control of the test above: IF neurons do keep what is left of a frame."""
    emit_nir(model, tmp_path / "net.nir", profile="if")
    report = verify_nir(tmp_path / "net.nir", model, images(model, 80), first_installed(), batch_size=5, stream=True)
    assert not report.ok and report.runs[0].mismatched > 0


def test_all_runs_what_can_run(model: Model, tmp_path: Path) -> None:
    emit_nir(model, tmp_path / "net.nir", profile="if")
    done: list[int] = []
    report = verify_nir(tmp_path / "net.nir", model, images(model, 7), "all", batch_size=4, progress=done.append)
    assert report.ok, str(report)
    ran = [run for run in report.runs if not run.skipped]
    assert sum(done) == 7 * len(ran) and len(report.runs) == len(IMPORTERS)
    for run in report.runs:
        assert not run.skipped or "not installed" in run.skipped or "profile" in run.skipped
    assert report.runs[0].mismatched == 0


# -- broken files -----------------------------------------------------------------------------------------------------


def broken(model: Model, folder: Path, change: Callable[[Any], None], importer: str = "norse") -> Path:
    """An emitted file of which something was changed, in a profile that the importer can run."""
    import nir

    profile = "lif" if "lif" in IMPORTERS[importer].profiles else "cuba"
    emit_nir(model, folder / "net.nir", profile=profile)
    graph = nir.read(folder / "net.nir")
    change(graph)
    nir.write(folder / "broken.nir", graph)
    return folder / "broken.nir"


def some_weights(graph: Any) -> None:
    weight = graph.nodes["conv_b"].weight
    half = weight.shape[1] // 2
    weight[:, :half] = -weight[:, :half]


def no_clock(graph: Any) -> None:
    graph.nodes["conv_b"].weight[:, -1] = 0


def a_threshold(graph: Any) -> None:
    for node in graph.nodes.values():
        if hasattr(node, "v_threshold"):
            node.v_threshold = node.v_threshold * np.float32(1.05)


def readout_weights(graph: Any) -> None:
    graph.nodes["dense"].weight[0, ::2] += 2


@pytest.mark.parametrize("change", [some_weights, no_clock, a_threshold, readout_weights])
def test_changed_numbers_are_seen_in_the_spikes(
    importer: str, change: Callable[[Any], None], model: Model, tmp_path: Path
) -> None:
    report = verify_nir(broken(model, tmp_path, change, importer), model, images(model, 40), importer)
    assert not report.ok
    (run,) = report.runs
    assert run.mismatched > 0 and not run.error
    assert "wrong; first in image" in str(report)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importers get files, though they are seen to be others: what do they make of them?"""
    monkeypatch.setattr("bnn.verification.nir.other_structure", lambda *args: [])
    monkeypatch.setattr("bnn.verification.nir.other_numbers", lambda *args: [])


def no_neurons(graph: Any) -> None:
    """A layer's neurons replaced by what some importers take for the identity."""
    import nir

    shape = graph.nodes["conv_b_spikes"].v_threshold.shape
    graph.nodes["conv_b_spikes"] = nir.Threshold(threshold=np.ones(shape, np.float32))


def test_a_node_taken_for_the_identity_is_caught(importer: str, model: Model, tmp_path: Path, unread: None) -> None:
    """Either the importer refuses the file, or its taps are not spikes."""
    report = verify_nir(broken(model, tmp_path, no_neurons, importer), model, images(model, 10), importer)
    assert not report.ok
    (run,) = report.runs
    assert run.error or run.outside > 0
    assert "FAILED" in str(report) or any(run.outside for run in report.runs)


def fan_in(graph: Any) -> None:
    """A second edge into a layer."""
    graph.edges.append(("conv_b_spikes", "conv_b_spikes"))


def test_a_second_edge_is_caught(importer: str, model: Model, tmp_path: Path, unread: None) -> None:
    path = broken(model, tmp_path, fan_in, importer)
    report = verify_nir(path, model, images(model, 40), importer, batch_size=10, stream=True)
    (run,) = report.runs
    assert not report.ok and (run.error or run.mismatched > 0), str(report)


def another_name(graph: Any) -> None:
    names = {"conv_b": "conv_x", "conv_b_spikes": "conv_x_spikes"}
    graph.nodes = {names.get(k, k): v for k, v in graph.nodes.items()}
    graph.edges = [(names.get(a, a), names.get(b, b)) for a, b in graph.edges]


# -- wrong use --------------------------------------------------------------------------------------------------------


def first_installed() -> str:
    return next(name for name, importer in IMPORTERS.items() if importer.version() is not None)


def test_wrong_use(model: Model, another: Model, tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    emit_nir(model, path)
    x = images(model, 2)
    with pytest.raises(InputError, match="importer: found 'brian', expected one of all, norse"):
        verify_nir(path, model, x, "brian")
    with pytest.raises(InputError, match=r"input 'image': found shape \(2, 5, 5, 1\), expected \(N, 12, 12, 1\)"):
        verify_nir(path, model, x[:, :5, :5], first_installed())
    with pytest.raises(ModelFormatError, match=r"was emitted from another .bnn file \(SHA-256"):
        verify_nir(path, another, images(another, 2), first_installed())
    with pytest.raises(ModelNotFoundError, match="there is no such file"):
        verify_nir(tmp_path / "other.nir", model, x, first_installed())
    for content in (b"", b"not HDF5", path.read_bytes()[:1000]):
        (tmp_path / "bad.nir").write_bytes(content)
        with pytest.raises(ModelFormatError, match="is not an HDF5 file|cannot be read"):
            verify_nir(tmp_path / "bad.nir", model, x, first_installed())


def test_a_network_that_lost_a_layer_fails_with_a_reason(model: Model, tmp_path: Path, unread: None) -> None:
    """The report says so, and does not crash."""
    report = verify_nir(broken(model, tmp_path, another_name), model, images(model, 2), first_installed())
    assert not report.ok and "no module 'conv_b_spikes'" in report.runs[0].error


def test_other_wrong_use(model: Model, tmp_path: Path) -> None:
    (tmp_path / "folder.nir").mkdir()
    with pytest.raises(ModelFileError, match=r"folder.nir: is a folder; expected a NIR file"):
        verify_nir(tmp_path / "folder.nir", model, images(model, 2), first_installed())
    for size in (0, 2.5):
        with pytest.raises(InputError, match="batch_size: found .*, expected"):
            verify_nir(tmp_path / "net.nir", model, images(model, 2), batch_size=size)  # type: ignore[arg-type]
    model.save(tmp_path / "net.bnn")
    with pytest.raises(InputError, match=r"net.bnn: would overwrite the model"):
        emit_nir(tmp_path / "net.bnn", tmp_path / "folder.nir" / ".." / "net.bnn")
