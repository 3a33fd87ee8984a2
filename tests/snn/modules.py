# SPDX-License-Identifier: Apache-2.0
"""Torch modules as the tutorials of the simulators write them, with the address of the page that each follows, and how
that page calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnn._types import Floats

STEPS = 25


@dataclass(frozen=True)
class Case:
    """``shape``: of one step of one sample.  ``called``: "loop": once, with one input for all steps; "steps": once,
    with (T, 1, *shape); "step": for each; "batch": once, with (1, T, *shape); "flat": once, with (T, *shape).
    ``refused``: what the refusal says; "": it compiles."""

    simulator: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    called: str = "step"
    inputs: str = "spikes"
    rate: float = 0.3
    refused: str = ""


CASES: list[Case] = []


def case(simulator: str, *shape: int, **options: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append(Case(simulator, make, shape, **options))
        return make

    return add


@dataclass
class Live:
    """A case whose neurons fire."""

    case: Case
    module: Any
    neurons: dict[str, Any]
    sample: Any = None  # of the module, as it takes it
    rates: dict[str, float] = field(default_factory=dict)

    def input(self, seed: int) -> Floats:
        """(T, *shape)"""
        rng, case = np.random.default_rng(seed), self.case
        steps = 1 if case.called == "loop" else STEPS
        if case.inputs == "values":
            x = rng.uniform(0, 1, (steps, *case.shape))
        else:
            x = rng.random((steps, *case.shape)) < case.rate
        return np.repeat(x, STEPS // steps, axis=0).astype(np.float32)

    def given(self, x: Any) -> Any:
        """What the module takes, of one step or all."""
        import torch

        x = torch.from_numpy(x)
        return {"loop": x[:1], "steps": x[:, None], "step": x[:1], "batch": x[None], "flat": x}[self.case.called]

    def run(self, seed: int) -> tuple[Floats, dict[str, Floats]]:
        """An input (T, *shape), and what each of the neurons sends, (T, n)."""
        import torch

        x, taps = self.input(seed), {}

        def tap(name: str) -> Any:
            def hook(part: Any, args: Any, result: Any) -> None:
                first = result if not isinstance(result, tuple) else result[-1 if name in self.membranes else 0]
                taps.setdefault(name, []).append(first.detach().numpy().copy())

            return hook

        hooks = [part.register_forward_hook(tap(name)) for name, part in self.neurons.items()]
        with torch.no_grad():
            forget(self.case.simulator, self.module)
            if self.case.called == "step":
                state = None
                for step in torch.from_numpy(x):
                    result = self.module(step[None], state) if self.stateful else self.module(step[None])
                    state = result[1] if self.stateful else None
            else:
                self.module(self.given(x))
        for hook in hooks:
            hook.remove()
        return x, {
            name: np.concatenate([t.reshape(-1) for t in parts]).reshape(len(x), -1) for name, parts in taps.items()
        }

    @property
    def stateful(self) -> bool:
        return self.case.simulator == "norse"

    @property
    def integrators(self) -> list[str]:
        kinds = ("LICell", "LILinearCell", "LIBoxCell", "LI", "LIBox", "ExpLeak", "ExpLeakSqueeze")
        return [*self.membranes, *(name for name, part in self.neurons.items() if type(part).__name__ in kinds)]

    @property
    def membranes(self) -> list[str]:
        """That return membranes last."""
        return [name for name, part in self.neurons.items() if getattr(part, "reset_mechanism", "") == "none"]


FORGET = {"snntorch": "reset_mem", "spikingjelly": "reset", "sinabs": "reset_states", "norse": ""}
NEURONS = {
    "snntorch": ("Leaky", "Synaptic", "RLeaky", "RSynaptic", "Lapicque", "Alpha"),
    "spikingjelly": ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"),
    "norse": (
        "LIFCell",
        "LIFBoxCell",
        "IAFCell",
        "LIF",
        "LICell",
        "LIBoxCell",
        "LI",
        "LILinearCell",
        "LIFRecurrentCell",
        "LIFRecurrent",
        "LSNNCell",
        "LSNNRecurrentCell",
    ),
    "sinabs": ("IAF", "IAFSqueeze", "LIF", "LIFSqueeze", "ExpLeak"),
}


def forget(simulator: str, module: Any) -> None:
    for part in module.modules():
        if type(part).__module__.startswith(simulator) and hasattr(part, FORGET[simulator]):
            getattr(part, FORGET[simulator])()


def live(case: Case, seed: int) -> Live:
    """Random weights, scaled layer by layer until between 5% and 50% of decisions are spikes."""
    import torch

    torch.manual_seed(seed)
    module = case.make().eval()
    for part in module.modules():
        if "BatchNorm" in type(part).__name__:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(0, 0.4)
    kinds = NEURONS[case.simulator]
    neurons = {name: part for name, part in module.named_modules()
               if type(part).__name__ in kinds and type(part).__module__.startswith(case.simulator)}  # fmt: skip
    made = Live(case, module, neurons)
    order: list[tuple[str, Any]] = []
    hooks = [part.register_forward_pre_hook(lambda part, args, name=name: order.append((name, part)))
             for name, part in module.named_modules()]  # fmt: skip
    made.run(0)
    for hook in hooks:
        hook.remove()
    weights, within = None, tuple(f"{name}." for name in neurons)
    for name, part in dict(order).items():
        own = hasattr(part, "input_weights")
        if name in neurons and (own or weights is not None) and name not in made.integrators:
            scale(made, name, part if own else weights, "input_weights" if own else "weight")
        elif getattr(part, "weight", None) is not None and not name.startswith(within):
            weights = part
    made.sample = made.given(made.input(seed))
    return made


def scale(made: Live, name: str, layer: Any, attribute: str) -> None:
    low, high, bias = 2.0**-6, 2.0**8, getattr(layer, "bias", None)
    weight = getattr(layer, attribute).detach()
    weight = weight + 0.4 * weight.std() * (weight.numel() > 1)  # more sums above 0 than below
    original = weight, None if bias is None else bias.detach().clone()
    for _ in range(30):
        middle = (low * high) ** 0.5
        getattr(layer, attribute).data = original[0] * middle
        if original[1] is not None:
            bias.data = original[1] * middle
        sent = made.run(1)[1][name]
        made.rates[name] = float((sent > 0).mean())
        if 0.1 <= made.rates[name] <= 0.4 and sent.max() > 0:
            return
        low, high = (middle, high) if made.rates[name] < 0.1 else (low, middle)
    raise AssertionError(f"{name}: no scale makes it fire ({made.rates[name]})")


# -- snnTorch --------------------------------------------------------------------------------------------------------


@case("snntorch", 64, called="loop", inputs="values")
def direct_coding() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_5.html

    One image for all steps.
    """
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = torch.nn.Linear(64, 200), snntorch.Leaky(beta=0.95)
            self.fc2, self.lif2 = torch.nn.Linear(200, 10), snntorch.Leaky(beta=0.95)

        def forward(self, x: Any) -> Any:
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spikes, membranes = [], []
            for _ in range(STEPS):
                spk1, mem1 = self.lif1(self.fc1(x), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
                membranes.append(mem2)
            return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)

    return Net()


@case("snntorch", 100, called="steps")
def spikes_over_time() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_3.html

    An input for each step.
    """
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = torch.nn.Linear(100, 150), snntorch.Leaky(beta=0.99, reset_mechanism="zero")
            self.fc2, self.lif2 = torch.nn.Linear(150, 10), snntorch.Leaky(beta=0.99)

        def forward(self, x: Any) -> Any:
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spikes = []
            for step in range(x.size(0)):
                cur1 = self.fc1(x[step].flatten(1))
                spk1, mem1 = self.lif1(cur1, mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
            return torch.stack(spikes)

    return Net()


@case("snntorch", 2, 34, 34, rate=0.03)
def neuromorphic() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_7.html

    N-MNIST: maxima of currents; layers keep their states.  SpikeEdge's network for N-MNIST is the same one:
    https://github.com/karol-jurzec/snn-generator
    """
    import snntorch
    import torch

    def lif(**options: Any) -> Any:
        return snntorch.Leaky(beta=0.5, init_hidden=True, **options)

    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 12, 5), torch.nn.MaxPool2d(2), lif(), torch.nn.Conv2d(12, 32, 5), torch.nn.MaxPool2d(2),
        lif(), torch.nn.Flatten(), torch.nn.Linear(800, 10), lif(output=True),
    )  # fmt: skip


@case("snntorch", 1, 16, 16, called="loop", inputs="values")
def convolutions() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_6.html

    Maxima of currents, as functions.
    """
    import snntorch
    import torch
    from torch.nn import functional

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.lif1 = torch.nn.Conv2d(1, 12, 5), snntorch.Leaky(beta=0.5)
            self.conv2, self.lif2 = torch.nn.Conv2d(12, 16, 3), snntorch.Leaky(beta=0.5)
            self.fc1, self.lif3 = torch.nn.Linear(64, 10), snntorch.Leaky(beta=0.5)

        def forward(self, x: Any) -> Any:
            mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
            spikes = []
            for _ in range(STEPS):
                spk1, mem1 = self.lif1(functional.max_pool2d(self.conv1(x), 2), mem1)
                spk2, mem2 = self.lif2(functional.max_pool2d(self.conv2(spk1), 2), mem2)
                spk3, mem3 = self.lif3(self.fc1(spk2.view(x.size(0), -1)), mem3)
                spikes.append(spk3)
            return torch.stack(spikes)

    return Net()


@case("snntorch", 2, 10, 10, rate=0.1)
def tactile() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_stmnist.html

    A maximum of spikes.
    """
    import snntorch
    import torch

    def lif(**options: Any) -> Any:
        return snntorch.Leaky(beta=0.95, init_hidden=True, **options)

    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 32, 4), lif(), torch.nn.Conv2d(32, 64, 3), lif(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(256, 10), lif(output=True),
    )  # fmt: skip


@case("snntorch", 350, rate=0.05)
def speech_commands() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_ssc.html

    Five layers.
    """
    import snntorch
    import torch

    def lif(**options: Any) -> Any:
        return snntorch.Leaky(beta=0.95, spike_grad=snntorch.surrogate.atan(alpha=2), init_hidden=True, **options)

    hidden = [part for n in (350, 128, 128, 128) for part in (torch.nn.Linear(n, 128), lif())]
    return torch.nn.Sequential(*hidden, torch.nn.Dropout(0.4), torch.nn.Linear(128, 35), lif(output=True))


@case("snntorch", 80)
def alpha() -> Any:
    """https://snntorch.readthedocs.io/en/latest/snn.neurons_alpha.html

    Tutorial 4 has them, too.
    """
    import snntorch
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(80, 120), snntorch.Alpha(alpha=0.9, beta=0.8, init_hidden=True),
        torch.nn.Linear(120, 20), snntorch.Alpha(alpha=0.8, beta=0.6, init_hidden=True, output=True),
    )  # fmt: skip


@case("snntorch", 80)
def synaptic() -> Any:
    """https://snntorch.readthedocs.io/en/latest/snn.neurons_synaptic.html

    Layers that keep their states.
    """
    import snntorch
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(80, 120), snntorch.Synaptic(alpha=0.9, beta=0.8, init_hidden=True),
        torch.nn.Linear(120, 20), snntorch.Synaptic(alpha=0.7, beta=0.6, init_hidden=True, output=True),
    )  # fmt: skip


@case("snntorch", 40, called="steps", inputs="values")
def learned() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_exoplanet_hunter.html

    Decays and thresholds that were learned, one per neuron.
    """
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = torch.nn.Linear(40, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 2)
            options: Any = {"learn_beta": True, "learn_threshold": True, "threshold": 1.5}
            self.lif1 = snntorch.Leaky(torch.rand(64), **options)
            self.lif2 = snntorch.Leaky(torch.rand(64), **{**options, "threshold": 0.5 + torch.rand(64)})
            self.lif3 = snntorch.Leaky(torch.tensor(0.7), **options)

        def forward(self, x: Any) -> Any:
            mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
            spikes, membranes = [], []
            for step in range(x.shape[0]):
                spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spk3, mem3 = self.lif3(self.fc3(spk2), mem3)
                spikes.append(spk3)
                membranes.append(mem3)
            return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)

    return Net()


@case("snntorch", 1, called="steps", inputs="values")
def regression() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_regression_1.html

    The membrane of neurons that nothing resets is the answer.
    """
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc_in, self.lif_in = torch.nn.Linear(1, 64), snntorch.Leaky(beta=torch.rand(1), learn_beta=True)
            self.fc_hidden, self.lif_hidden = torch.nn.Linear(64, 64), snntorch.Leaky(beta=torch.rand(64))
            self.fc_out = torch.nn.Linear(64, 2)
            self.li_out = snntorch.Leaky(beta=torch.rand(1), threshold=1.0, learn_beta=True, reset_mechanism="none")

        def forward(self, x: Any) -> Any:
            mem_1, mem_2, mem_3 = (lif.init_leaky() for lif in (self.lif_in, self.lif_hidden, self.li_out))
            membranes = []
            for step in range(x.shape[0]):
                spk_1, mem_1 = self.lif_in(self.fc_in(x[step]), mem_1)
                spk_2, mem_2 = self.lif_hidden(self.fc_hidden(spk_1), mem_2)
                _, mem_3 = self.li_out(self.fc_out(spk_2), mem_3)
                membranes.append(mem_3)
            return torch.stack(membranes)

    return Net()


@case("snntorch", 50, called="steps")
def recurrent() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_regression_2.html

    Recurrent neurons, and a membrane as the answer.
    """
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = torch.nn.Linear(50, 96)
            self.rlif1 = snntorch.RLeaky(beta=0.9, linear_features=96)
            self.fc2 = torch.nn.Linear(96, 10)
            self.lif2 = snntorch.Leaky(beta=0.9, reset_mechanism="none")

        def forward(self, x: Any) -> Any:
            spk1, mem1 = self.rlif1.init_rleaky()
            mem2 = self.lif2.init_leaky()
            membranes = []
            for step in range(len(x)):
                spk1, mem1 = self.rlif1(self.fc1(x[step]), spk1, mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                membranes.append(mem2)
            return torch.stack(membranes, dim=0)

    return Net()


@case("snntorch", 60, called="steps")
def recurrent_synaptic() -> Any:
    """https://snntorch.readthedocs.io/en/latest/snn.neurons_rsynaptic.html"""
    import snntorch
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = torch.nn.Linear(60, 80)
            self.lif1 = snntorch.RSynaptic(alpha=0.9, beta=0.85, V=torch.rand(80) - 0.5, all_to_all=False)
            self.fc2 = torch.nn.Linear(80, 20)
            self.lif2 = snntorch.RSynaptic(alpha=0.8, beta=0.7, linear_features=20, reset_mechanism="zero")

        def forward(self, x: Any) -> Any:
            spk1, syn1, mem1 = self.lif1.init_rsynaptic()
            spk2, syn2, mem2 = self.lif2.init_rsynaptic()
            spikes = []
            for xt in x:
                spk1, syn1, mem1 = self.lif1(self.fc1(xt), spk1, syn1, mem1)
                spk2, syn2, mem2 = self.lif2(self.fc2(spk1), spk2, syn2, mem2)
                spikes.append(spk2)
            return torch.stack(spikes)

    return Net()


@case("snntorch", 1, 12, 12, rate=0.2)
def recurrent_convolution() -> Any:
    """https://snntorch.readthedocs.io/en/latest/snn.neurons_rleaky.html

    Recurrent weights that are a convolution, batch norm.
    """
    import snntorch
    import torch

    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1, bias=False), torch.nn.BatchNorm2d(6),
        snntorch.RLeaky(beta=0.8, conv2d_channels=6, kernel_size=3, init_hidden=True, reset_delay=False),
        torch.nn.Flatten(), torch.nn.Linear(864, 10), snntorch.Leaky(beta=0.7, init_hidden=True, reset_delay=False),
    )  # fmt: skip


@case("snntorch", 64, called="loop", inputs="values")
def population_code() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_pop.html

    Layers in a row, called by a loop in the module.
    """
    import snntorch
    import torch
    from snntorch import utils

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(64, 128), snntorch.Leaky(beta=0.9, init_hidden=True),
                torch.nn.Linear(128, 100), snntorch.Leaky(beta=0.9, init_hidden=True, output=True),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            utils.reset(self.net)
            return torch.stack([self.net(x)[0] for _ in range(STEPS)])

    return Net()


@case("snntorch", 30)
def lapicque() -> Any:
    """https://snntorch.readthedocs.io/en/latest/snn.neurons_lapicque.html"""
    import snntorch
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(30, 60), snntorch.Lapicque(beta=0.5, init_hidden=True),
        torch.nn.Linear(60, 40), snntorch.Lapicque(beta=0.8, init_hidden=True, reset_mechanism="zero"),
    )  # fmt: skip


@case("snntorch", 2, 12, 12, called="steps", rate=0.15)
def functions() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_6.html

    With pools of spikes, sums and concatenations; pools and reshaping are functions.
    """
    import snntorch
    import torch
    from torch.nn import functional

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.lif1 = torch.nn.Conv2d(2, 8, 3, padding=1), snntorch.Leaky(beta=0.5)
            self.conv2, self.lif2 = torch.nn.Conv2d(8, 8, 3, padding=1), snntorch.Leaky(beta=0.5)
            self.fc1, self.lif3 = torch.nn.Linear(144, 10), snntorch.Leaky(beta=0.5)

        def forward(self, x: Any) -> Any:
            mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
            spikes, membranes = [], []
            for step in range(x.size(0)):
                spk1, mem1 = self.lif1(self.conv1(x[step]), mem1)
                spk1 = functional.max_pool2d(spk1, 2)
                spk2, mem2 = self.lif2(self.conv2(spk1) + 0.5 * spk1, mem2)
                both = torch.cat([functional.avg_pool2d(spk2, 2), functional.avg_pool2d(spk1, 2)], dim=1)
                spk3, mem3 = self.lif3(self.fc1(both.view(x.size(1), -1)), mem3)
                spikes.append(spk3)
                membranes.append(mem3)
            return torch.stack(spikes), torch.stack(membranes)

    return Net()


@case("snntorch", 1, 8, 8, called="loop", inputs="values",
      refused="'decoder.1' (ConvTranspose2d): found the function conv_transpose2d")  # fmt: skip
def autoencoder() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_sae.html

    Convolutions that enlarge.
    """
    import snntorch
    import torch

    def lif(**options: Any) -> Any:
        return snntorch.Leaky(beta=0.5, init_hidden=True, **options)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Sequential(
                torch.nn.Conv2d(1, 4, 3, padding=1, stride=2), torch.nn.BatchNorm2d(4), lif()
            )
            self.decoder = torch.nn.Sequential(
                lif(), torch.nn.ConvTranspose2d(4, 1, 3, padding=1, stride=2, output_padding=1),
                lif(output=True, threshold=20000),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return torch.stack([self.decoder(self.encoder(x))[1] for _ in range(STEPS)])

    return Net()


@case("snntorch", 30, inputs="values", refused="its forward: found the function norm")
def forward_forward() -> Any:
    """https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_forward_forward.html

    Inputs are normalized.
    """
    import snntorch
    import torch

    class LeakyLayer(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(30, 20, bias=False)
            self.activation = snntorch.Leaky(beta=0.8)

        def forward(self, x: Any) -> Any:
            mem = self.activation.init_leaky()
            direction = x / (torch.norm(x, p=2, dim=1, keepdim=True) + 1e-4)
            return self.activation(torch.mm(direction, self.weight.T), mem)[1]

    return LeakyLayer()


# -- SpikingJelly ----------------------------------------------------------------------------------------------------


@case("spikingjelly", 1, 14, 14, inputs="values")
def lif_fc_mnist() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/lif_fc_mnist.html

    One layer; its encoder (Poisson) stays outside.
    """
    import torch
    from spikingjelly.activation_based import layer, neuron, surrogate

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Sequential(
                layer.Flatten(),
                layer.Linear(196, 100, bias=False),
                neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan()),
            )

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    return Net()


@case("spikingjelly", 1, 12, 12, called="loop", inputs="values")
def conv_fashion_mnist() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/conv_fashion_mnist.html

    All steps at once, of one image; the module returns a mean over them.
    """
    import torch
    from spikingjelly.activation_based import functional, layer, neuron

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = [layer.Conv2d(1, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), neuron.IFNode(),
                     layer.MaxPool2d(2, 2), layer.Conv2d(8, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8),
                     neuron.IFNode(), layer.MaxPool2d(2, 2), layer.Flatten(),
                     layer.Linear(72, 40, bias=False), neuron.IFNode(),
                     layer.Linear(40, 10, bias=False), neuron.IFNode()]  # fmt: skip
            self.conv_fc = torch.nn.Sequential(*parts)
            functional.set_step_mode(self, step_mode="m")

        def forward(self, x: Any) -> Any:
            x_seq = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
            return self.conv_fc(x_seq).mean(0)

    return Net()


@case("spikingjelly", 2, 16, 16, called="steps", rate=0.1)
def classify_dvsg() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/classify_dvsg.html

    Events of a camera, all steps at once.
    """
    import torch
    from spikingjelly.activation_based import functional, layer, neuron

    parts = []
    for channels in (2, 8):
        parts += [layer.Conv2d(channels, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8),
                  neuron.LIFNode(detach_reset=True), layer.MaxPool2d(2, 2)]  # fmt: skip
    net = torch.nn.Sequential(
        *parts, layer.Flatten(), layer.Dropout(0.5), layer.Linear(128, 60), neuron.LIFNode(detach_reset=True),
        layer.Dropout(0.5), layer.Linear(60, 20), neuron.LIFNode(detach_reset=True),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


@case("spikingjelly", 50)
def neurons() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/neuron.html

    Neurons one step at a time.
    """
    import torch
    from spikingjelly.activation_based import layer, neuron

    return torch.nn.Sequential(
        layer.Linear(50, 80), neuron.IFNode(v_reset=None),
        layer.Linear(80, 60), neuron.LIFNode(tau=5.0, decay_input=False),
        layer.Linear(60, 30), neuron.LIFNode(tau=3.3, v_reset=-0.25, v_threshold=0.8),
    )  # fmt: skip


@case("spikingjelly", 40, called="steps")
def basic_conception() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/basic_concept.html

    Several steps in the forward of a module, layers one step at a time.
    """
    import torch
    from spikingjelly.activation_based import layer, neuron

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.sn = layer.Linear(40, 70), neuron.IFNode()
            self.fc2, self.sn2 = layer.Linear(70, 30), neuron.LIFNode(v_reset=None, tau=4.0)

        def forward(self, x_seq: Any) -> Any:
            return torch.stack([self.sn2(self.fc2(self.sn(self.fc(x)))) for x in x_seq])

    return Net()


@case("spikingjelly", 1, 12, 12, called="loop", inputs="values")
def parametric() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/neuron.html

    PLIF, learned time constants; a loop adds up what comes out.
    """
    import torch
    from spikingjelly.activation_based import layer, neuron

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.static = torch.nn.Sequential(layer.Conv2d(1, 6, 3, bias=False), layer.BatchNorm2d(6))
            self.rest = torch.nn.Sequential(
                neuron.ParametricLIFNode(init_tau=2.3), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(150, 20),
                neuron.ParametricLIFNode(init_tau=1.7, decay_input=False, v_reset=None),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            x = self.static(x)
            rate = self.rest(x)
            for _ in range(STEPS - 1):
                rate = rate + self.rest(x)
            return rate / STEPS

    return Net()


@case("spikingjelly", 6, 8, 8, called="steps", rate=0.2)
def spiking_resnet() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/train_large_scale_snn.html

    Blocks whose spikes are added to what they got (ADD).
    """
    import torch
    from spikingjelly.activation_based import functional, layer, neuron

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1, self.sn1 = layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), neuron.IFNode()
            self.conv2, self.bn2, self.sn2 = layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), neuron.IFNode()

        def forward(self, x: Any) -> Any:
            out = self.sn1(self.bn1(self.conv1(x)))
            return self.sn2(self.bn2(self.conv2(out))) + x

    net = torch.nn.Sequential(Block(), Block(), layer.AdaptiveAvgPool2d((1, 1)), layer.Flatten(), layer.Linear(6, 10),
                              neuron.LIFNode())  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


@case("spikingjelly", 60, called="steps")
def current_based() -> Any:
    """https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/container.html

    CUBALIF, and a container that goes through all steps.
    """
    import torch
    from spikingjelly.activation_based import functional, layer, neuron

    net = torch.nn.Sequential(
        layer.SeqToANNContainer(torch.nn.Linear(60, 90), torch.nn.BatchNorm1d(90)), neuron.CUBALIFNode(0.5, 0.75),
        layer.Linear(90, 30), neuron.CUBALIFNode(0.7, 0.6, v_reset=None),
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


def sequential_fashion_mnist(*parts: Any) -> Any:
    """A row of the image in each step."""
    import torch
    from spikingjelly.activation_based import functional, layer, neuron

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Sequential(layer.Linear(28, 32), *parts, layer.Linear(32, 10), neuron.IFNode())
            functional.set_step_mode(self, "m")

        def forward(self, x: Any) -> Any:
            return self.fc(x).mean(0)

    return Net()


RSNN = "https://spikingjelly.readthedocs.io/zh-cn/latest/tutorials/en/recurrent_connection_and_stateful_synapse.html"


@case("spikingjelly", 28, called="steps", inputs="values")
def plain() -> Any:
    from spikingjelly.activation_based import neuron

    return sequential_fashion_mnist(neuron.IFNode())


@case("spikingjelly", 28, called="steps", inputs="values",
      refused="'fc.2' (SynapseFilter): found the function rsub")  # fmt: skip
def stateful_synapses() -> Any:
    from spikingjelly.activation_based import layer, neuron

    return sequential_fashion_mnist(neuron.IFNode(), layer.SynapseFilter(tau=2.0, learnable=True))


@case("spikingjelly", 28, called="steps", inputs="values")
def feedback() -> Any:
    from spikingjelly.activation_based import layer, neuron

    return sequential_fashion_mnist(layer.LinearRecurrentContainer(neuron.IFNode(), 32, 32, bias=True))


@case("spikingjelly", 28, called="steps", inputs="values")
def elementwise_feedback() -> Any:
    from spikingjelly.activation_based import layer, neuron

    return sequential_fashion_mnist(layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda x, y: x + y))


for made in (plain, stateful_synapses, feedback, elementwise_feedback):
    made.__doc__ = RSNN


# -- Norse -----------------------------------------------------------------------------------------------------------


@case("norse", 1, 14, 14, called="steps", rate=0.2)
def mnist() -> Any:
    """https://norse.github.io/notebooks/mnist_classifiers.html

    A loop over steps, convolutions, and an integrator at the end.
    """
    import norse.torch as norse
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(1, 8, 5), torch.nn.Conv2d(8, 8, 3)
            self.fc1 = torch.nn.Linear(72, 40)
            self.lif0 = norse.LIFCell(p=norse.LIFParameters(method="super", alpha=torch.tensor(100.0)))
            self.lif1 = norse.LIFCell(p=norse.LIFParameters(method="super", alpha=torch.tensor(100.0)))
            self.lif2 = norse.LIFCell(p=norse.LIFParameters(v_th=torch.tensor(0.4)))
            self.out = norse.LILinearCell(40, 10)

        def forward(self, x: Any) -> Any:
            s0 = s1 = s2 = so = None
            voltages = []
            for ts in range(x.shape[0]):
                z, s0 = self.lif0(self.conv1(x[ts]), s0)
                z = torch.nn.functional.max_pool2d(z, 2, 2)
                z, s1 = self.lif1(10 * self.conv2(z), s1)
                z, s2 = self.lif2(self.fc1(z.view(-1, 72)), s2)
                v, so = self.out(z, so)
                voltages.append(v)
            return torch.stack(voltages)

    return Net()


@case("norse", 60)
def sequential_state() -> Any:
    """https://norse.github.io/notebooks/intro_norse.html

    Layers and their states in a row.
    """
    import norse.torch as norse
    import torch

    return norse.SequentialState(
        torch.nn.Linear(60, 100), norse.LIFCell(), torch.nn.Linear(100, 50), norse.LIFCell(), torch.nn.Linear(50, 10),
        norse.LICell(),
    )  # fmt: skip


@case("norse", 2, 12, 12, called="steps", rate=0.1)
def poker_dvs() -> Any:
    """https://norse.github.io/notebooks/poker-dvs_classifier.html

    Lifted layers, and neurons over time.
    """
    import norse.torch as norse
    import torch

    return norse.SequentialState(
        norse.Lift(torch.nn.Conv2d(2, 6, 3)), norse.LIF(), norse.Lift(torch.nn.AvgPool2d(2)),
        norse.Lift(torch.nn.Conv2d(6, 8, 2)), norse.LIF(p=norse.LIFParameters(tau_mem_inv=torch.tensor(200.0))),
        torch.nn.Flatten(2), torch.nn.Linear(128, 10), norse.LI(),
    )  # fmt: skip


@case("norse", 50)
def parameters() -> Any:
    """https://norse.github.io/notebooks/parameter-learning.html

    Parameters that were learned, per neuron.
    """
    import norse.torch as norse
    import torch

    first = norse.LIFParameters(
        tau_mem_inv=torch.nn.Parameter(80 + 100 * torch.rand(80)),
        tau_syn_inv=torch.nn.Parameter(150 + 100 * torch.rand(80)),
        v_th=torch.nn.Parameter(0.5 + torch.rand(80)), v_leak=torch.nn.Parameter(0.1 * torch.rand(80)),
    )  # fmt: skip
    box = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(250.0), v_reset=torch.tensor(-0.1))
    return norse.SequentialState(
        torch.nn.Linear(50, 80), norse.LIFCell(p=first), torch.nn.Linear(80, 40), norse.LIFBoxCell(p=box, dt=0.001),
        torch.nn.Linear(40, 20), norse.LIBoxCell(),
    )  # fmt: skip


def _memory(layer: Any) -> Any:
    """A layer of cells and its readout, step by step."""
    import norse.torch as norse
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer
            self.readout = norse.LILinearCell(layer.hidden_size, 10)

        def forward(self, x: Any) -> Any:
            sl = sr = None
            readouts = []
            for x_step in x.unbind(0):
                spikes, sl = self.layer(x_step, sl)
                v, sr = self.readout(spikes, sr)
                readouts.append(v)
            return torch.stack(readouts)

    return Net()


@case("norse", 60, called="steps")
def recurrent_cells() -> Any:
    """https://github.com/norse/norse/blob/main/norse/task/memory.py

    Recurrent neurons, whose weights for their input are their own.
    """
    import norse.torch as norse
    import torch

    return _memory(norse.LIFRecurrentCell(60, 60, p=norse.LIFParameters(v_th=torch.tensor(0.5))))


@case("norse", 20, called="steps")
def adaptive_cells() -> Any:
    """https://github.com/norse/norse/blob/main/norse/task/memory.py

    Thresholds that adapt.
    """
    import norse.torch as norse
    import torch

    return _memory(norse.LSNNRecurrentCell(20, 20, p=norse.LSNNParameters(v_th=torch.tensor(0.5))))


@case("norse", 40)
def adaptive_without_recurrence() -> Any:
    """https://norse.github.io/norse/generated/norse.torch.module.lsnn.html

    Thresholds that adapt, and fade within the run.
    """
    import norse.torch as norse
    import torch

    fades = norse.LSNNParameters(tau_adapt_inv=torch.tensor(50.0), beta=torch.tensor(0.3), v_th=torch.tensor(0.4))
    return norse.SequentialState(
        torch.nn.Linear(40, 60), norse.LSNNCell(p=fades), torch.nn.Linear(60, 20), norse.LSNNCell(),
    )  # fmt: skip


@case("norse", 50, called="steps")
def recurrent_over_time() -> Any:
    """https://norse.github.io/norse/generated/norse.torch.module.lif.html

    Recurrent neurons for all steps.
    """
    import norse.torch as norse
    import torch

    return norse.SequentialState(
        torch.nn.Linear(50, 40), norse.LIFRecurrent(40, 80), torch.nn.Linear(80, 10), norse.LI()
    )


@case("norse", 40)
def integrate_and_fire() -> Any:
    """https://norse.github.io/norse/generated/norse.torch.functional.iaf.html"""
    import norse.torch as norse
    import torch
    from norse.torch.functional.reset import reset_subtract

    box = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(100.0), reset_method=reset_subtract)
    return norse.SequentialState(
        torch.nn.Linear(40, 60), norse.IAFCell(), torch.nn.Linear(60, 40), norse.LIFBoxCell(p=box),
    )  # fmt: skip


# -- sinabs ----------------------------------------------------------------------------------------------------------


@case("sinabs", 1, 14, 14, called="flat", rate=0.2)
def nmnist() -> Any:
    """https://sinabs.readthedocs.io/en/latest/tutorials/nmnist.html

    A network of ReLUs, its layers made spiking.
    """
    import sinabs.layers as layers
    import torch

    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1, bias=False), layers.IAFSqueeze(batch_size=1), layers.SumPool2d(2),
        torch.nn.Conv2d(8, 8, 3, bias=False), layers.IAFSqueeze(batch_size=1), torch.nn.AvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(32, 10, bias=False), layers.IAFSqueeze(batch_size=1),
    )  # fmt: skip


@case("sinabs", 60, called="batch")
def neuron_models() -> Any:
    """https://sinabs.readthedocs.io/en/latest/tutorials/neuron_models.html

    (batch, time, features).
    """
    import sinabs.layers as layers
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(60, 100), layers.LIF(tau_mem=20.0),
        torch.nn.Linear(100, 40), layers.LIF(tau_mem=10.0, tau_syn=5.0),
        torch.nn.Linear(40, 10), layers.ExpLeak(tau_mem=30.0),
    )  # fmt: skip


@case("sinabs", 50, called="batch")
def learned_constants() -> Any:
    """https://sinabs.readthedocs.io/en/latest/tutorials/bptt.html

    Single spikes, and a time constant that was learned for each neuron.
    """
    import sinabs.layers as layers
    import torch
    from sinabs import activation

    one: Any = {"spike_fn": activation.SingleSpike}
    return torch.nn.Sequential(
        torch.nn.Linear(50, 80), layers.IAF(min_v_mem=-1.0, **one),
        torch.nn.Linear(80, 60), layers.LIF(tau_mem=5 + 20 * torch.rand(60), train_alphas=True, **one),
        torch.nn.Linear(60, 30), layers.LIF(tau_mem=15.0, norm_input=False, reset_fn=activation.MembraneReset(), **one),
    )  # fmt: skip


@case("sinabs", 2, 12, 12, called="flat", rate=0.1)
def converted() -> Any:
    """https://sinabs.readthedocs.io/en/latest/tutorials/weight_transfer_mnist.html

    Sinabs makes the spiking network of one of ReLUs.
    """
    import torch
    from sinabs.from_torch import from_model

    relu = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU(), torch.nn.AvgPool2d(2), torch.nn.Conv2d(6, 8, 2), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(128, 10), torch.nn.ReLU(),
    )  # fmt: skip
    return from_model(relu, batch_size=1, add_spiking_output=False).spiking_model


@case("sinabs", 40, called="flat")
def floors() -> Any:
    """https://sinabs.readthedocs.io/en/latest/api/layers/layers.html

    Floors of membranes, as chips have them, and several spikes in a step.
    """
    import sinabs.layers as layers
    import torch
    from sinabs import activation

    options: Any = {"batch_size": 1, "min_v_mem": -1.0, "spike_threshold": torch.tensor(1.0)}
    return torch.nn.Sequential(
        torch.nn.Linear(40, 70), layers.IAFSqueeze(**options, spike_fn=activation.MultiSpike),
        torch.nn.Linear(70, 30), layers.LIFSqueeze(tau_mem=12.0, **options),
    )  # fmt: skip
