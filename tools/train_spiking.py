# SPDX-License-Identifier: Apache-2.0
"""Train a network of spiking neurons in snnTorch by surrogate gradients and export it as NIR.

    python tools/train_spiking.py --out runs/spiking
    python tools/train_spiking.py --network conv --epochs 2 --out runs/spiking-conv
    python tools/train_spiking.py --code first-spike --learning-rate 0.003 --out runs/spiking-first

Pixels become spikes by latency: in T steps, a pixel p of 0..1 fires once, in step floor((1 - p) T), and never if it is
0.  So the spikes of an image are always the same.  The class is the output neuron that fires most often in the T steps
(--code count), or the one that fires first, and then the run is over (--code first-spike); of equals, the first.

A network whose answer is the first spike learns by the gradient of log P, where P is the probability that the right
output is the first to fire, if outputs fire by chance, the more probably the higher their membranes are (Bagheri,
Simeone, Rajendran, "Training probabilistic spiking neural networks with first-to-spike decoding", ICASSP 2018,
arXiv:1710.10704).  Each step that passes before takes PATIENCE off P, so early answers are rewarded.

Writes to the folder given by --out: model.nir; model.snn, compiled from it; model.pt (the weights, for
``network(...).load_state_dict``); and test.npz, some test images: inputs (T, N, ...) and the spikes of each layer of
neurons (T, N, ...) in snnTorch, uint8, by the name of its node, and labels (N,).  Ends with a comparison of model.snn
with the trained network: every spike on these images, every answer on all test images; and with what snnTorch imports
from model.nir, on the first of them.

What is exact:

- Weights and biases are multiples of 1/64 from -127/64 to 127/64, during training already.  So the sum of any spikes is
  exact in float32, whatever the order of summation, and weights fit int8 with one scale.
- beta is 15/16, tau = dt / (1 - beta) = 16 dt, and beta is 1 - dt / tau again: no rounding, as of every 1 - 2^-k.
  Neurons that wait for a first spike hardly forget: 255/256.
- A spike resets its neuron to zero in the step that it is fired in: what NIR means.  The file does not say so, and the
  compiler is told.
"""

from __future__ import annotations

import io
import json
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import bnn
from bnn.runtime.files import replacing
from training import UserError, datasets
from training.console import FOLDER, JSON, run

try:
    import nir
    import snntorch
    import torch
    from snntorch import surrogate
    from snntorch.export_nir import export_to_nir
    from torch import nn
    from torch.nn import functional
    from torch.nn.utils import parametrize
except ImportError as error:
    print(
        f"train_spiking: error: training needs PyTorch, snnTorch and NIR ({error}); "
        "pip install torch snntorch nir nirtorch",
        file=sys.stderr,
    )
    sys.exit(2)

BETAS = {"count": 1 - 2**-4, "first-spike": 1 - 2**-8}
WIDTH, PATIENCE = 0.25, 0.97  # of what chance decides while learning, in thresholds; what P keeps in each step
UNIT, MOST = 2**-6, 127  # of weights
DT = 1e-4  # seconds: snnTorch's step, when it reads and writes NIR
NETWORKS = ("dense", "conv")
FILES = ("model.nir", "model.snn", "model.pt", "test.npz")
_EVALUATION_BATCH = 500
_VERIFIED = 10  # images in the slow comparison, step by step, with the imported network and the definition in NumPy


class Rounding(torch.autograd.Function):
    """Round to multiples of UNIT that fit int8; the gradient is that of the clip."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x / UNIT).round().clamp(-MOST, MOST) * UNIT

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() <= MOST * UNIT)


class Rounded(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(Rounding.apply(x))


def network(name: str, shape: tuple[int, int, int], classes: int, code: str = "count") -> nn.Sequential:
    """ "dense" or "conv", for inputs of this shape: channels, height, width; ``code``: "count" or "first-spike"."""

    def neurons(*shape: int) -> nn.Module:
        # One beta and one threshold per neuron, although all are equal: NIR has arrays, and the exporter copies shapes.
        beta, threshold = torch.full(shape, BETAS[code]), torch.ones(shape)
        return snntorch.Leaky(
            beta, threshold, surrogate.atan(), init_hidden=True, reset_mechanism="zero", reset_delay=False
        )

    channels, height, width = shape
    if name == "dense":
        return nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(channels * height * width, 400), lif1=neurons(400),
                fc2=nn.Linear(400, classes), lif2=neurons(classes),
            )
        )  # fmt: skip
    half, quarter = ((-(-height // n), -(-width // n)) for n in (2, 4))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 16, 5, 2, 2), lif1=neurons(16, *half),
            conv2=nn.Conv2d(16, 32, 3, 2, 1), lif2=neurons(32, *quarter),
            flatten=nn.Flatten(), fc=nn.Linear(32 * quarter[0] * quarter[1], classes), lif3=neurons(classes),
        )
    )  # fmt: skip


def spikes(images: datasets.Images, scale: int, steps: int, flat: bool) -> torch.Tensor:
    """Images (N, H, W, C) of 0..scale as float32 spikes (T, N, C, H, W), or (T, N, C H W)."""
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.int32))
    latency = (scale - pixels) * steps // scale  # of a 0: never
    times = torch.arange(steps).reshape(-1, 1, 1, 1, 1)
    found = (latency == times).float()
    return found.flatten(2) if flat else found


def passed(module: nn.Sequential, x: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Spikes (T, N, ...) of each layer of neurons from a state of zeros, and what the last layer returns.

    Layer by layer: faster than step by step.
    """
    found = {}
    for name, layer in module.named_children():
        if isinstance(layer, snntorch.Leaky):
            layer.mem = torch.zeros(0)  # what the next step takes for a beginning
            x = found[name] = torch.stack([layer(current) for current in x])
        else:
            x = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return found, x


def responses(module: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spikes (T, N, ...) of each layer of neurons."""
    return passed(module, x)[0]


def answers(sent: torch.Tensor, code: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(the class, the steps until it is known) of what the outputs sent, (T, N, classes).

    The class of no spike at all is 0 by counts, and -1, none, by the first spike.
    """
    if code == "count":
        return sent.sum(0).argmax(1), torch.full(sent.shape[1:2], len(sent))
    fired = sent.any(2)
    first = fired.int().argmax(0)
    found = sent[first, torch.arange(len(first))].argmax(1)
    return torch.where(fired.any(0), found, -1), torch.where(fired.any(0), first + 1, len(sent))


def evaluate(
    module: nn.Sequential, code: str, split: datasets.Split, scale: int, steps: int, flat: bool, compiled: Any = None
) -> tuple[float, float, float, int]:
    """(the share of right answers, steps and SynOps per image, answers that are not those of ``compiled``, in the same
    step); without it, the last two are 0."""
    right = taken = synops = other = 0
    for i in range(0, len(split), _EVALUATION_BATCH):
        part = slice(i, i + _EVALUATION_BATCH)
        x = spikes(split.images[part], scale, steps, flat)
        with torch.no_grad():
            found, until = (value.numpy() for value in answers(passed(module, x)[1], code))
        right += int((found == split.labels[part]).sum())
        taken += int(until.sum())
        if compiled is not None:
            run = compiled.run(x.numpy(), until=None if code == "count" else code)
            ours = run.scores.argmax(1) if code == "count" else run.answers
            other += int(((ours != found) | (run.taken != until)).sum())
            synops += run.synops
    return right / len(split), taken / len(split), synops / len(split), other


def first_spike_loss(currents: torch.Tensor, labels: torch.Tensor, output: Any) -> torch.Tensor:
    """-log P, the mean over images; ``currents`` (T, N, classes) of the neurons ``output``."""
    v, membranes = torch.zeros_like(currents[0]), []
    for current in currents:  # without resets: nothing counts after the first spike
        v = output.beta * v + current
        membranes.append(v)
    odds = (torch.stack(membranes) - output.threshold) / WIDTH  # the logarithm of them, to fire in a step
    silent = -functional.softplus(odds).sum(2)  # log of the probability that no output fires in a step
    own = odds.gather(2, labels.expand(len(odds), -1)[..., None])[..., 0]
    steps = torch.arange(len(odds))[:, None]
    return -torch.logsumexp(silent.cumsum(0) + own + steps * np.log(PATIENCE), 0).mean()


def train(
    data: datasets.Dataset, name: str, code: str, epochs: int, steps: int, batch_size: int, learning_rate: float,
    seed: int,
) -> nn.Sequential:  # fmt: skip
    torch.manual_seed(seed)
    height, width, channels = data.input_shape
    module, flat = network(name, (channels, height, width), len(data.class_names), code), name == "dense"
    rounded = [layer for layer in module if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer in rounded:
        # PyTorch's default leaves most neurons silent at first; for a first spike, half of what counts need is enough.
        nn.init.kaiming_uniform_(layer.weight, 0 if code == "count" else 3**0.5)
        parametrize.register_parametrization(layer, "weight", Rounded())
        parametrize.register_parametrization(layer, "bias", Rounded())
    labels = torch.from_numpy(data.train.labels.copy()).long()
    batches = -(-len(labels) // batch_size)
    optimizer = torch.optim.Adam(module.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(labels)).split(batch_size):
            x = spikes(data.train.images[batch.numpy()], data.scale, steps, flat)
            optimizer.zero_grad()
            if code == "count":
                loss = functional.cross_entropy(passed(module, x)[1].sum(0), labels[batch])
            else:
                loss = first_spike_loss(passed(module[:-1], x)[1], labels[batch], module[-1])
            loss.backward()
            optimizer.step()
            schedule.step()
        found, taken, *_ = evaluate(module, code, data.validation, data.scale, steps, flat)
        print(
            f"epoch {epoch}/{epochs}  loss {loss.item():.4f}  val acc {found:.2%}  steps {taken:.2f}", file=sys.stderr
        )
    for layer in rounded:
        parametrize.remove_parametrizations(layer, "weight")
        parametrize.remove_parametrizations(layer, "bias")
    return module


def export(module: nn.Sequential, example: torch.Tensor) -> Any:
    """The NIR graph; ``example``: an input of one step, (1, ...).

    snnTorch's exporter is right for these neurons: tau and r give beta back without rounding, and v_reset = 0 says what
    they do (it says so of every reset mechanism).
    """
    return export_to_nir(module, example, ignore_dims=[0])


def write(out: Path, module: nn.Sequential, x: torch.Tensor, labels: datasets.Labels) -> Any:
    """FILES, each completely or not at all; returns the compiled network."""
    with torch.no_grad():
        arrays = {"inputs": x, **responses(module, x)}
    graph = io.BytesIO()  # HDF5 reads what it writes
    nir.write(graph, export(module, x[0, :1]))
    with replacing(str(out / "model.nir")) as file:
        file.write(graph.getvalue())
    with replacing(str(out / "model.pt")) as file:
        torch.save(module.state_dict(), file)
    with replacing(str(out / "test.npz")) as file:
        spikes = {name: value.numpy().astype(np.uint8) for name, value in arrays.items()}
        np.savez_compressed(file, labels=labels, **spikes)
    compiled = bnn.snn.compile(out / "model.nir", simulator="snntorch", reset="zero", reset_delay=False)
    compiled.save(out / "model.snn")
    return compiled


def differences(compiled: Any, tested: Any) -> tuple[int, int]:
    """(spikes that differ, all spikes and silences) of a compiled network and snnTorch (test.npz), in all layers."""
    names = [name for name in tested if name not in ("inputs", "labels")]
    found = compiled.run(tested["inputs"], record=names).recorded
    differ = sum(int((found[name] != tested[name]).sum()) for name in names)
    return differ, sum(tested[name].size for name in names)


RATE = click.FloatRange(0, 1, min_open=True)


@click.command(help="Train a network of spiking neurons in snnTorch and export it as NIR.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--dataset", type=click.Choice(list(datasets.DATASETS)), default="fashion-mnist", show_default=True)
@click.option("--data", type=FOLDER, help="Folder with the data set's files.")
@click.option(
    "--network",
    "name",
    type=click.Choice(NETWORKS),
    default="dense",
    show_default=True,
    help="Pixels-400-classes, or two convolutions with stride 2 and a dense layer.",
)
@click.option(
    "--code",
    type=click.Choice(list(BETAS)),
    default="count",
    show_default=True,
    help="The answer: the output that fires most often, or first.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--steps", type=click.IntRange(1, 1000), default=20, show_default=True, help="T: time steps per image.")
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--learning-rate", type=RATE, default=0.001, show_default=True, help="Adam's, at the start.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True)
@click.option("--images", type=click.IntRange(min=1), default=200, show_default=True, help="Test images in test.npz.")
@click.option("--overwrite", is_flag=True, help="Replace the files in --out.")
@JSON
def _command(
    out: Path, dataset: str, data: Path | None, name: str, images: int, overwrite: bool, as_json: bool, **settings: Any
) -> None:
    files = [out / file for file in FILES]
    existing = [str(file) for file in files if file.exists()]
    if existing and not overwrite:
        raise UserError(f"{existing[0]} exists already; --overwrite replaces it")
    loaded = datasets.load(dataset, data)
    out.mkdir(parents=True, exist_ok=True)
    module = train(loaded, name, **settings)
    steps, flat, test, code = settings["steps"], name == "dense", loaded.test, settings["code"]
    compiled = write(out, module, spikes(test.images[:images], loaded.scale, steps, flat), test.labels[:images])
    tested = dict(np.load(out / "test.npz"))
    differ, decisions = differences(compiled, tested)
    report = bnn.verify_snn(out / "model.nir", compiled, tested["inputs"][:, :_VERIFIED], module=module)
    found, taken, synops, other = evaluate(module, code, test, loaded.scale, steps, flat, compiled)
    if as_json:
        result = {"test_accuracy": found, "mean_steps": taken, "synops": synops, "other_answers": other}
        result |= {"differ": differ, "decisions": decisions, "verified": report.ok}
        names = [str(file) for file in files]
        print(json.dumps({"dataset": dataset, "network": name, **settings, **result, "files": names}))
    else:
        print(f"test accuracy {found:.2%} at T = {steps}; written to {out}: {', '.join(FILES)}")
        print(f"{taken:.2f} steps and {synops:,.0f} SynOps per image\n")
        print(
            f"{report}\n\n{len(tested['labels'])} images in the trained network: {differ} of {decisions} spikes differ"
        )
        print(f"{len(test)} images: {other} answers differ")
    if differ or other or not report.ok:
        sys.exit(1)


main = partial(run, _command, "train_spiking")  # exits with 1 where something differs, too


if __name__ == "__main__":
    main()
