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


@pytest.mark.parametrize(("code", "steps"), [("count", 16), ("first-spike", 256)])
def test_beta_survives_nir(cli: Any, code: str, steps: int) -> None:
    """In the exporter's and the importer's float32 operations."""
    beta = np.float32(cli.BETAS[code])
    tau = np.float32(cli.DT) / (1 - beta)
    assert 1 - np.float32(cli.DT) / tau == beta and tau / np.float32(cli.DT) == steps


def test_the_loss_is_the_probability_of_the_first_spike(cli: Any) -> None:
    """Against the sum over all ways in which outputs can fire, each step by itself."""
    torch = cli.torch
    torch.manual_seed(4)
    currents, labels = torch.randn(3, 5, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    output = cli.network("dense", (1, 1, 1), 2, "first-spike").lif2
    expected = 0.0
    for n, label in enumerate(labels.tolist()):
        v, nobody, right = np.zeros(2), 1.0, 0.0
        for t in range(3):
            v = v * (1 - 2**-8) + currents[t, n].numpy()
            fires = 1 / (1 + np.exp(-(v - 1) / 0.25))
            right += 0.97**t * nobody * fires[label] * (1 - fires[1 - label])  # alone
            nobody *= (1 - fires[0]) * (1 - fires[1])
        expected -= np.log(right) / len(labels)
    assert cli.first_spike_loss(currents, labels, output).item() == pytest.approx(expected, rel=1e-6)


def test_answers(cli: Any) -> None:
    sent = cli.torch.zeros(4, 4, 3)
    sent[2, 0, 1:] = sent[3, 0, 2] = 1  # two in one step
    sent[3, 1, 0] = 1
    sent[0, 2, 2] = sent[1:, 2, 1] = 1
    for code, expected in (
        ("first-spike", [(1, 3), (0, 4), (2, 1), (-1, 4)]),
        ("count", [(2, 4), (0, 4), (1, 4), (0, 4)]),
    ):
        found, steps = cli.answers(sent, code)
        assert list(zip(found.tolist(), steps.tolist(), strict=True)) == expected


def simulated(graph: Any, x: Any, beta: float = 15 / 16) -> dict[str, Any]:
    """Spikes (T, N, ...) of a dense network by the definition of its neurons, from the numbers in the file."""
    found = {}
    for layer, neurons in (("fc1", "lif1"), ("fc2", "lif2")):
        affine, lif = graph.nodes[layer], graph.nodes[neurons]
        np.testing.assert_allclose(1 - 1e-4 / lif.tau, beta, rtol=1e-6)
        assert (lif.r * 1e-4 / lif.tau == 1).all() and not lif.v_reset.any() and not lif.v_leak.any()
        v = np.zeros((x.shape[1], len(affine.bias)))
        sent = []
        for step in x:
            v = np.float32(beta) * v.astype(np.float32) + (step.astype(np.float64) @ affine.weight.T + affine.bias)
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
    assert (summary["other_answers"], summary["mean_steps"]) == (0, 20)
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


def test_the_answer_is_the_first_spike(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the network in the file, run by its definition; it answers early, and most of the time right."""
    settings = ["--epochs", "3", "--learning-rate", "0.02", "--steps", "8", "--images", "1000"]
    cli.main(["--out", str(tmp_path), "--dataset", "digits", "--code", "first-spike", *settings, "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert (summary["differ"], summary["other_answers"], summary["verified"]) == (0, 0, True)
    graph, test = cli.nir.read(tmp_path / "model.nir"), np.load(tmp_path / "test.npz")
    found = simulated(graph, test["inputs"], 255 / 256)
    for name, spikes in found.items():
        np.testing.assert_array_equal(test[name], spikes)
    right, steps = 0, []
    for spikes, label in zip(found["lif2"].swapaxes(0, 1), test["labels"], strict=True):
        fired = np.argwhere(spikes)  # by step, and then by neuron
        right += bool(len(fired)) and fired[0][1] == label
        steps.append(fired[0][0] + 1 if len(fired) else 8)
    assert summary["test_accuracy"] == pytest.approx(right / len(steps)) and summary["test_accuracy"] > 0.6
    assert summary["mean_steps"] == pytest.approx(np.mean(steps)) and summary["mean_steps"] < 6
    used = [(x[:k].sum(), h[:k].sum()) for k, x, h in zip(
        steps, test["inputs"].swapaxes(0, 1), found["lif1"].swapaxes(0, 1), strict=True)]  # fmt: skip
    assert summary["synops"] == pytest.approx(np.mean([400 * a + 10 * b for a, b in used]))
    run = cli.bnn.snn.load(tmp_path / "model.snn").run(test["inputs"], until="first-spike")
    np.testing.assert_array_equal(run.taken, steps)


def test_another_answer_is_told(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = cli.answers

    def later(sent: Any, code: str) -> Any:
        found, steps = theirs(sent, code)
        return found, steps + 1

    monkeypatch.setattr(cli, "answers", later)
    settings = ["--epochs", "1", "--steps", "4", "--images", "5", "--code", "first-spike", "--json"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--out", str(tmp_path), "--dataset", "digits", *settings])
    assert stopped.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["differ"], found["other_answers"]) == (0, 355)


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
