# SPDX-License-Identifier: Apache-2.0
"""Training with spikes: the code of the input, what is exact, what is exported, and what the user is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_without_snntorch_it_says_what_to_install() -> None:
    """Also where snnTorch is installed: here it cannot be imported."""
    code = f"import runpy, sys; sys.modules['snntorch'] = None; runpy.run_path({str(TOOLS / 'train_spiking.py')!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOOLS)
    assert found.returncode == 2
    assert found.stderr.startswith("train_spiking: error: ") and "pip install torch snntorch" in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def cli() -> Any:
    for package in ("torch", "snntorch", "nir", "nirtorch", "sklearn"):
        pytest.importorskip(package)
    sys.path.insert(0, str(TOOLS))
    import train_spiking

    return train_spiking


def test_pixels_become_spikes_by_latency(cli: Any) -> None:
    """Every value of a pixel, by the definition: one spike in step floor((1 - p) T), none for 0."""
    for scale, steps in ((16, 20), (256, 20), (256, 7)):
        images = np.arange(min(scale + 1, 256), dtype=np.uint8).reshape(1, 1, -1, 1)
        found = cli.spikes(images, scale, steps, flat=True).numpy()[:, 0]
        assert found.shape == (steps, images.size)
        for pixel in range(images.size):
            expected = np.zeros(steps)
            if pixel:
                expected[(scale - pixel) * steps // scale] = 1
            np.testing.assert_array_equal(found[:, pixel], expected)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
    shaped = cli.spikes(images, 256, 20, flat=False)
    assert shaped.shape == (20, 3, 2, 4, 5)
    np.testing.assert_array_equal(shaped.flatten(2), cli.spikes(images, 256, 20, flat=True))
    assert shaped[:, 1, 1, 2, 3].sum() == 1


def test_weights_are_rounded_and_have_the_gradient_of_a_clip(cli: Any) -> None:
    x = cli.torch.tensor([-3.0, -1.985, -0.4 / 64, 0.6 / 64, 1.0, 2.5], requires_grad=True)
    y = cli.Rounding.apply(x)
    y.sum().backward()
    assert (y * 64).tolist() == [-127, -127, 0, 1, 64, 127]
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 0]


def test_beta_survives_nir(cli: Any) -> None:
    """In the exporter's and the importer's float32 operations."""
    tau = np.float32(cli.DT) / (1 - np.float32(cli.BETA))
    assert 1 - np.float32(cli.DT) / tau == np.float32(cli.BETA) and tau / np.float32(cli.DT) == 16


def simulated(graph: Any, x: Any) -> dict[str, Any]:
    """Spikes (T, N, ...) of a dense network by the definition of its neurons, from the numbers in the file."""
    found = {}
    for layer, neurons in (("fc1", "lif1"), ("fc2", "lif2")):
        affine, lif = graph.nodes[layer], graph.nodes[neurons]
        beta = 1 - 1e-4 / lif.tau
        assert (lif.r * 1e-4 / lif.tau == 1).all() and not lif.v_reset.any() and not lif.v_leak.any()
        v = np.zeros((x.shape[1], len(affine.bias)))
        sent = []
        for step in x:
            v = (beta * v).astype(np.float32) + (step.astype(np.float64) @ affine.weight.T + affine.bias)
            v = v.astype(np.float32)
            sent.append(v > lif.v_threshold)
            v[sent[-1]] = 0
        x = found[neurons] = np.stack(sent)
    return found


def test_a_run(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files are the network whose accuracy is printed; a second run does not replace them unasked."""
    arguments = ["--out", str(tmp_path / "run"), "--dataset", "digits", "--epochs", "6", "--learning-rate", "0.005"]
    cli.main([*arguments, "--images", "1000", "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["test_accuracy"] > 0.75
    assert (summary["differ"], summary["verified"]) == (0, True)
    exported, compiled, weights, tested = map(Path, summary["files"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(cli.FILES)

    data = cli.datasets.load("digits")
    graph, test = cli.nir.read(exported), np.load(tested)
    np.testing.assert_array_equal(test["labels"], data.test.labels)
    np.testing.assert_array_equal(test["inputs"].sum(0), (data.test.images > 0).reshape(len(data.test), -1))
    assert np.mean(test["lif2"].sum(0).argmax(1) == data.test.labels) == pytest.approx(summary["test_accuracy"])
    for name, spikes in simulated(graph, test["inputs"]).items():
        assert spikes.any() and not spikes.all()
        np.testing.assert_array_equal(test[name], spikes)
    for name in ("fc1", "fc2"):
        for value in (graph.nodes[name].weight, graph.nodes[name].bias):
            assert value.any() and np.array_equal(value * 64, np.round(value * 64)) and abs(value * 64).max() <= 127

    assert cli.differences(cli.bnn.snn.load(compiled), test) == (0, summary["decisions"])

    module = cli.network("dense", (1, 8, 8), 10)
    module.load_state_dict(cli.torch.load(weights))
    x = cli.spikes(data.test.images, data.scale, 20, flat=True)
    with cli.torch.no_grad():
        np.testing.assert_array_equal(cli.responses(module, x)["lif2"], test["lif2"])

    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "--overwrite replaces it" in capsys.readouterr().err


def test_layer_by_layer_is_step_by_step(cli: Any) -> None:
    cli.torch.manual_seed(3)
    module = cli.network("conv", (1, 8, 8), 10)
    for layer in (module.conv1, module.conv2, module.fc):
        layer.weight.data = cli.Rounding.apply(4 * layer.weight.data)
        layer.bias.data = cli.Rounding.apply(layer.bias.data)
    x = cli.spikes(cli.datasets.load("digits").test.images[:5], 16, 20, flat=False)
    with cli.torch.no_grad():
        found = cli.responses(module, x)
        for layer in (module.lif1, module.lif2, module.lif3):
            layer.mem = cli.torch.zeros(0)
        stepped = cli.torch.stack([module(step) for step in x])
    assert list(found) == ["lif1", "lif2", "lif3"] and all(spikes.any() for spikes in found.values())
    assert cli.torch.equal(found["lif3"], stepped)


def test_the_convolutional_network(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--dataset", "digits", "--network", "conv", "--epochs", "2", "--learning-rate", "0.01"]
    cli.main([*arguments, "--out", str(tmp_path), "--images", "20"])
    out = capsys.readouterr().out
    assert "proven" in out and "20 images in the trained network: 0 of " in out
    test = np.load(tmp_path / "test.npz")
    assert {name: test[name].shape for name in test} == {
        "labels": (20,), "inputs": (20, 20, 1, 8, 8), "lif1": (20, 20, 16, 4, 4), "lif2": (20, 20, 32, 2, 2),
        "lif3": (20, 20, 10),
    }  # fmt: skip
    assert all(test[name].any() for name in test)


def test_another_network_in_the_file_is_told(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = cli.export

    def damaged(*arguments: Any) -> Any:
        graph = export(*arguments)
        graph.nodes["lif2"].v_threshold = 2 * graph.nodes["lif2"].v_threshold
        return graph

    monkeypatch.setattr(cli, "export", damaged)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--out", str(tmp_path), "--dataset", "digits", "--epochs", "1", "--learning-rate", "0.01", "--json"])
    assert stopped.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert found["differ"] > 0 and not found["verified"]
