# SPDX-License-Identifier: Apache-2.0
"""Learning by feedback equals gradients: with the readout's own weights as feedback, each step changes weights by those
of its squared error, which PyTorch's autograd takes through time.

The spike's derivative is that of e-prop, and what a spike takes from its membrane has none, as in the paper.  The
hidden neurons are not recurrent, so e-prop leaves nothing else out.  Numbers have few bits, so no operation rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seed import SEED
from snn.test_feedback import CLASSES, HIDDEN, STEPS, classifier, drawn_sample, dyadic, single_steps

torch = pytest.importorskip("torch")


class Spike(torch.autograd.Function):  # type: ignore[misc]
    """A spike above 1; its derivative is 1 at the threshold and 0 at a distance of 1."""

    @staticmethod
    def forward(context: Any, v: Any) -> Any:
        context.save_for_backward(v)
        return (v > 1).to(v.dtype)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        (v,) = context.saved_tensors
        return gradient * (1 - (v - 1).abs()).clamp(min=0)


def test_updates_are_gradients() -> None:
    print(f"seed {SEED}")
    changed = 0
    for number in range(10):
        rng = np.random.default_rng([SEED, 33, number])
        out = dyadic(rng, HIDDEN, CLASSES, scale=2)
        network = classifier(rng, np.ascontiguousarray(out.T), out)
        network.projections[1].weights *= 0
        pixels, targets = drawn_sample(rng)
        found = single_steps(network, pixels, targets)
        w_in, w_out = (torch.tensor(network.projections[k].weights, dtype=torch.float64) for k in (0, 2))
        for w in (w_in, w_out):
            w.requires_grad_(True)
        v, z = torch.zeros(HIDDEN, dtype=torch.float64), torch.zeros(HIDDEN, dtype=torch.float64)
        for t in range(STEPS):
            v = 0.5 * v + torch.tensor(pixels[t], dtype=torch.float64) @ w_in - z.detach()
            z = Spike.apply(v)
            loss = ((torch.tensor(targets[t], dtype=torch.float64) - z @ w_out) ** 2).sum() / 2
            gradients = torch.autograd.grad(loss, (w_in, w_out), retain_graph=True)
            for name, w, g in zip(("in", "out"), (w_in, w_out), gradients, strict=True):
                expected = (w - 0.25 * g).detach().numpy().astype(np.float32)
                assert np.array_equal(found[t][name], expected), (SEED, number, t, name)
                changed += int((g != 0).sum())
    assert changed
