# SPDX-License-Identifier: Apache-2.0
"""What weights of eight bits change in a network of spiking neurons: decisions and answers, on images.

    python tools/benchmark.py rounded --dataset digits
    python tools/benchmark.py rounded --dataset fashion-mnist

Trains two dense layers of snnTorch's Leaky neurons (beta 0.9, reset by subtraction) on pixels that send spikes with the
probability of their brightness in each of 25 steps, compiles the module twice, and compares test images.  A decision is
whether a neuron fires in a step.  Needs PyTorch and snnTorch.
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from bench.runner import Bench, Found, case
from bnn.runtime.summary import table
from bnn.snn.torch_compile import from_torch
from training import datasets

STEPS, HIDDEN, BETA, BATCH, TRAINED, TESTED = 25, {"digits": 32, "fashion-mnist": 100}, 0.9, 64, 20_000, 400


def train(data: datasets.Dataset, hidden: int, epochs: int) -> Any:
    import snntorch
    import torch
    from snntorch import surrogate
    from torch import nn

    def neurons() -> Any:
        return snntorch.Leaky(BETA, spike_grad=surrogate.atan(), init_hidden=True, reset_mechanism="subtract")

    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, classes = int(np.prod(data.input_shape)), len(data.class_names)
    net = nn.Sequential(nn.Linear(pixels, hidden), neurons(), nn.Linear(hidden, classes), neurons())
    images = torch.from_numpy(data.train.images[:TRAINED].reshape(-1, pixels) / np.float32(data.scale))
    labels = torch.from_numpy(data.train.labels[:TRAINED].astype(np.int64))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(BATCH):
            x = (torch.rand(STEPS, len(batch), pixels) < images[batch]).float()
            for part in (net[1], net[3]):
                part.reset_mem()
            sent = torch.stack([net(step) for step in x]).sum(0)
            optimizer.zero_grad()
            nn.functional.cross_entropy(sent, labels[batch]).backward()
            optimizer.step()
    for part in (net[1], net[3]):
        part.reset_mem()
    return net


@case()
@click.option("--dataset", type=click.Choice(list(HIDDEN)), default="digits", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
def rounded(bench: Bench, dataset: str, epochs: int) -> Found:
    data = datasets.load(dataset, None)
    net = train(data, HIDDEN[dataset], epochs)
    test = data.test.images[:TESTED].reshape(len(data.test.images[:TESTED]), -1) / data.scale
    x = (np.random.default_rng(0).random((STEPS, *test.shape)) < test).astype(np.uint8)
    labels, found = data.test.labels[:TESTED], {}
    for weights in ("float32", "int8"):
        model = from_torch(net, x[0, :1], simulator="snntorch", weights=weights)
        names = [p.name for p in model.populations if p.name not in model.input_shapes]
        found[weights] = model.run(x, record=names), model.nbytes
    (exact, _), (other, _) = found.values()
    turned = {k: float((exact.recorded[k] != other.recorded[k]).mean()) for k in exact.recorded}
    sizes = [exact.recorded[k].size for k in turned]
    share = float(np.average(list(turned.values()), weights=sizes))
    answers = [run.scores.argmax(1) for run, _ in found.values()]
    rows = [
        [weights, f"{size:,}", f"{float((answer == labels).mean()):.1%}"]
        for (weights, (_, size)), answer in zip(found.items(), answers, strict=True)
    ]
    bench.say(table(["weights", "bytes", "accuracy"], rows, [""]))
    parts = ", ".join(f"{name}: {value:.2%}" for name, value in turned.items())
    other_answers = float((answers[0] != answers[1]).mean())
    bench.say(f"{share:.2%} of {sum(sizes):,} decisions turn ({parts}); {other_answers:.1%} of the answers")
    return Found({"dataset": dataset, "turned": turned, "share": share})
