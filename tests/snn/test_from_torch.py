# SPDX-License-Identifier: Apache-2.0
"""bnn.snn.from_torch, on networks as the tutorials of the simulators write them, against the modules themselves.

Weights are random, and scaled until neurons fire.  The reference is the module in its own library, called as its
tutorial calls it; what its neurons send is compared with the compiled network's populations, decision by decision.
``-s`` prints a line per network.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.errors import BnnError, InputError
from bnn.snn.calling import why_not
from bnn.snn.file import decode
from bnn.snn.rounding_risk import find_risk
from seed import LONG, SEED

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")

from snn.modules import CASES, Case, Live, live  # noqa: E402

DECISIONS = 100_000 if LONG else 5_000


def skip_without(simulator: str) -> None:
    if reason := why_not(simulator, ("torch",)):
        pytest.skip(reason)


def compiled(module: Any, sample: Any, simulator: str, inputs: str = "spikes") -> bnn.snn.SpikingModel:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*returns a sum, mean or single one of its steps")
        return bnn.snn.from_torch(module, sample, simulator=simulator, inputs=inputs)


def cases() -> list[Any]:
    """All, and in ``make test`` the first of each simulator."""
    taken = [case for case in CASES if not case.refused]
    first = {case.simulator: case for case in reversed(taken)}.values()
    slow = [() if case in first else pytest.mark.slow for case in taken]
    names = [f"{case.simulator}-{case.make.__name__}" for case in taken]
    return [pytest.param(case, id=name, marks=mark) for case, name, mark in zip(taken, names, slow, strict=True)]


@pytest.mark.drawn
@pytest.mark.parametrize("case", cases())
def test_networks_of_tutorials(case: Case) -> None:
    skip_without(case.simulator)
    made = live(case, SEED)
    assert all(0.05 <= rate <= 0.5 for rate in made.rates.values()), made.rates
    model = compiled(made.module, made.sample, case.simulator, case.inputs)
    network = decode(model.to_bytes())
    decisions = differ = risky = 0
    while decisions < DECISIONS:
        x, theirs = made.run(SEED + decisions)
        run = model.run(x, record=list(theirs))
        assert list(run.outputs)[0] in [*theirs, "out"]
        inner = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
        risk = find_risk(network, [np.ascontiguousarray(inner.reshape(len(x), -1))])
        wrong = []
        for i, p in enumerate(network.populations):
            if p.name not in theirs:
                continue
            ours, sent = (np.asarray(v, np.float32).reshape(len(x), -1) for v in (run.recorded[p.name], theirs[p.name]))
            at_risk, off = (v.get(i, np.zeros(sent.shape)) for v in (risk.at_risk, risk.errors))
            at_risk, off = (np.moveaxis(v.reshape(len(x), *p.shape), -1, 1).reshape(sent.shape) for v in (at_risk, off))
            found = np.abs(ours.astype(np.float64) - sent) > off
            decisions, differ, risky = decisions + found.size, differ + int(found.sum()), risky + int(at_risk.sum())
            wrong += [(t, i, p.name, n, bool(at_risk[: t + 1, n].any())) for t, n in np.argwhere(found)[:1]]
        # What follows from a decision that rounding turned may differ, too; the first one must be at risk itself.
        assert not wrong or min(wrong)[-1], f"{differ} of {decisions} decisions differ, first {min(wrong)}"
    print(f"\n{case.simulator} {case.make.__name__}: {decisions:,} decisions, {differ} differ, {risky} at risk", end="")


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=lambda case: case.make.__name__)
def test_networks_of_tutorials_that_are_refused(case: Case) -> None:
    skip_without(case.simulator)
    made = Live(case, case.make().eval(), {})
    sample = made.given(made.input(0))
    with pytest.raises(BnnError) as error:
        bnn.snn.from_torch(made.module, sample, simulator=case.simulator, inputs=case.inputs)
    assert case.refused in str(error.value) and type(made.module).__name__ in str(error.value), error.value


# -- what is refused -------------------------------------------------------------------------------------------------


class Loop(torch.nn.Module):
    """``step(net, t, x)`` of each step, whose results are stacked."""

    def __init__(self, step: Callable[[Any, int, Any], Any], **parts: Any) -> None:
        super().__init__()
        self.step = step
        self.again: Any = 0.0
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        self.again = 0.0
        return torch.stack([self.step(self, t, x[t]) for t in range(len(x))])


def leaky(**options: Any) -> Any:
    import snntorch

    return snntorch.Leaky(**{"beta": 0.5, "init_hidden": True, **options})


def fc(inputs: int = 6, outputs: int = 6) -> Any:
    made = torch.nn.Linear(inputs, outputs)
    made.weight.data.abs_()
    return made


def looped(step: Callable[[Any, int, Any], Any], **more: Any) -> Any:
    return Loop(step, fc=fc(), lif=leaky(), **more)


def again(net: Any, t: int, x: Any, back: int = 1, do: Callable[[Any], Any] = lambda x: x) -> Any:
    """Weights from the step before, by hand; or from ``back`` steps before."""
    net.sent = net.sent if t else []
    net.sent.append(net.lif(do(net.fc(x) + (net.rec(net.sent[t - back]) if t >= back else 0))))
    return net.sent[-1]


def scaled_state(net: Any, t: int, x: Any) -> Any:
    spikes, membrane = net.lif(net.fc(x), None if t == 0 else 0.5 * net.again)
    net.again = membrane
    return spikes


def heats(net: Any, t: int, x: Any) -> Any:
    """Something that is not seen while it runs."""
    scale = torch.tensor(1.0 + 3 * (len(net.seen) > 8))
    net.seen.append(t)
    with torch._C.DisableTorchFunction():  # as an extension would
        net.fc.bias.data.fill_(float(scale))
    return net.lif(net.fc(x))


SNNTORCH: dict[str, tuple[Callable[[], Any], str]] = {
    "a shape": (lambda: torch.nn.Sequential(torch.nn.Unflatten(1, (1, 2, 3)), torch.nn.Conv2d(1, 2, 1), leaky()),
        "'0' (Unflatten): found the shape (4, 6) made (4, 1, 2, 3); give samples the shape that layers take"),
    "a function": (lambda: torch.nn.Sequential(fc(), torch.nn.ReLU(), leaky()), "'1' (ReLU): found the function relu"),
    "data": (lambda: looped(lambda n, t, x: n.lif(n.fc(x)) if bool((x > 0).any()) else x), "found the function gt on"),
    "a step": (lambda: looped(lambda n, t, x: n.lif(n.fc(x) if t % 2 else n.other(x)), other=fc()),
               "'fc' (Linear): found an operation (Affine) in step 1 that is not in step 0"),
    "neurons twice": (lambda: looped(lambda n, t, x: n.lif(n.other(n.lif(n.fc(x)))), other=fc()),
                      "'lif' (Leaky): found step 0 of 'other' in call 1; call it once in every step"),
    "left out": (lambda: looped(lambda n, t, x: (n.lif(n.fc(x)), n.more(n.fc(x)) if t < 2 else 0)[0], more=leaky()),
                 "'more' (Leaky): found 2 calls, where others are called 3 times"),
    "two steps back": (lambda: looped(lambda n, t, x: again(n, t, x, 2), rec=fc()), "'fc + rec' of different steps"),
    "back now and then": (lambda: looped(lambda n, t, x: again(n, t, x, 1 if t < 2 else 9), rec=fc()),
                          "found '' of the step before in step 2, 'rec' in step 1"),
    "a sum alone": (lambda: looped(lambda n, t, x: n.rec(again(n, t, x)) + n.fc(n.sent[t - 1] if t else x), rec=fc()),
                    "found a stack of 3 tensors"),
    "a state": (lambda: Loop(scaled_state, fc=fc(), lif=leaky(init_hidden=False)), "a state in step 1 that is not"),
    "membranes": (lambda: torch.nn.Sequential(fc(), leaky(init_hidden=False), Second()),
                  "found that their membranes are returned; only those of neurons without a reset are sent"),
    "more neurons": (lambda: torch.nn.Sequential(fc(), lstm()), "'1.lstm_cell' (LSTMCell): found the function"),
    "a reset": (lambda: torch.nn.Sequential(fc(), alpha(reset_mechanism="subtract")), 'reset_mechanism="subtract"; sn'),
    "inhibition": (lambda: torch.nn.Sequential(fc(), leaky(inhibition=True)), "found inhibition=True; there is no"),
    "float64": (lambda: torch.nn.Sequential(fc(), leaky(beta=torch.rand(6).double())), "found beta of float64;"),
    "dropout": (lambda: looped(lambda n, t, x: n.lif(torch.nn.functional.dropout(n.fc(x)))), "dropout as in training"),
    "a surrogate": (lambda: torch.nn.Sequential(fc(), leaky(spike_grad=lambda x: (x > 0.25).float())),
                    "decisions are not those of its rule, first of neuron"),
    "what is not seen": (lambda: looped(heats, seen=[]), "and rounding does not explain it: the module"),
    "no neurons": (lambda: torch.nn.Sequential(fc(), torch.nn.Linear(6, 2)), "no neurons of snnTorch 1.0: Leaky,"),
    "no tensor": (lambda: looped(lambda n, t, x: torch.zeros(4, 6)), "that it returns Tensor that does not come"),
    "float16": (lambda: torch.nn.Sequential(fc(), leaky(), Half()), "a tensor of torch.float16, expected float32"),
    "a product": (lambda: looped(lambda n, t, x: n.lif(n.fc(x) * x)), "a product of two things that come"),
    "R": (lambda: torch.nn.Sequential(fc(), lapicque(R=5.1, C=5e-3, time_step=1e-3)), "use powers of two, such as 1"),
}  # fmt: skip


class Second(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x[1]


class Half(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.to(torch.float16)


def alpha(**options: Any) -> Any:
    import snntorch

    return snntorch.Alpha(alpha=0.9, beta=0.8, init_hidden=True, **options)


def lstm() -> Any:
    import snntorch

    return snntorch.SLSTM(6, 6, init_hidden=True)


def lapicque(**options: Any) -> Any:
    import snntorch

    return snntorch.Lapicque(init_hidden=True, **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("begins", ["with nothing", "with zeros"])
def test_recurrence_by_hand(begins: str, bias: bool) -> None:
    """Of zeros a layer sends its bias in the first step, too; the steps differ if that is left out."""
    skip_without("snntorch")
    torch.manual_seed(SEED)
    weights = torch.nn.Linear(6, 6, bias=bias)

    def step(net: Any, t: int, x: Any) -> Any:
        net.sent = net.lif(net.fc(x) + net.rec(net.sent if t else torch.zeros_like(x)))
        return net.sent

    net = looped(step if begins == "with zeros" else again, rec=weights)
    for p in net.parameters():
        p.data = (p.data * 64).round() / 64  # sums are exact
    sample = (torch.rand(20, 4, 6) < 0.4).float()
    model = compiled(net, sample, "snntorch")
    assert [q.delay for q in model.projections].count(1) == 1
    with torch.no_grad():
        net.lif.reset_mem()
        want = net(sample)[:, 0]
    assert np.array_equal(model.run(sample[:, 0].numpy()).output, want.numpy())


@pytest.mark.parametrize("what", SNNTORCH)
def test_what_is_not_understood_is_refused_by_name(what: str) -> None:
    skip_without("snntorch")
    make, words = SNNTORCH[what]
    torch.manual_seed(1)
    module = make()
    sample = torch.ones(3, 4, 6) if isinstance(module, Loop) else torch.ones(4, 6)
    with pytest.raises(BnnError) as error:
        bnn.snn.from_torch(module, sample, simulator="snntorch")
    assert words in str(error.value) and type(module).__name__ in str(error.value), error.value


def test_maxima_of_currents_and_counts() -> None:
    """With padding, strides and batch norm behind them; windows with gaps are refused."""
    skip_without("snntorch")

    def net(**options: Any) -> Any:
        made = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.MaxPool2d(3, **options), torch.nn.BatchNorm2d(2),
                                   leaky())  # fmt: skip
        made[0].weight.data.mul_(5)
        return made.eval()

    torch.manual_seed(SEED)
    sample = (torch.rand(1, 1, 9, 9) < 0.3).float()
    model = compiled(net(stride=2, padding=1), sample, "snntorch")
    assert [(q.kind, q.kernel, q.padding) for q in model.projections if q.kind == "window"] == [
        ("window", (3, 3), (1, 1))
    ]
    with pytest.raises(BnnError, match=r"'1' .MaxPool2d.: found dilation = .2, 2.; of values windows without gaps"):
        bnn.snn.from_torch(net(dilation=2), sample, simulator="snntorch")
    back = Loop(lambda n, t, x: again(n, t, x, 1, torch.nn.MaxPool2d(1)), fc=torch.nn.Conv2d(1, 1, 1),
                rec=torch.nn.Conv2d(1, 1, 1), lif=leaky())  # fmt: skip
    with pytest.raises(BnnError, match=r"an operation .MaxPool2d. on a sum with what was sent in the step before"):
        bnn.snn.from_torch(back, torch.ones(3, 1, 1, 4, 4), simulator="snntorch")
    skip_without("sinabs")
    import sinabs.layers

    counts = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1),
        sinabs.layers.IAFSqueeze(batch_size=1),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(2, 2, 1),
        sinabs.layers.IAFSqueeze(batch_size=1),
    )
    for k in (0, 3):
        counts[k].weight.data.abs_().mul_(3)
    model = compiled(counts, torch.ones(5, 1, 4, 4), "sinabs")
    assert not model.warnings and "window" in [q.kind for q in model.projections]


@pytest.mark.parametrize(("simulator", "where", "name", "options", "title"), [
    ("spikingjelly", "spikingjelly.activation_based.neuron", "KLIFNode", {}, "SpikingJelly 2.0"),
    ("sinabs", "sinabs.layers", "ALIF", {"tau_mem": 5.0, "tau_adapt": 5.0}, "sinabs 3.1"),
])  # fmt: skip
def test_neurons_without_a_rule_are_named(simulator: str, where: str, name: str, options: Any, title: str) -> None:
    skip_without(simulator)
    library = importlib.import_module(where)
    row = getattr(library, "SequentialState", torch.nn.Sequential)
    net = row(fc(), getattr(library, name)(**options), fc(), next_neurons(library))
    sample = torch.ones(1, 5, 6) if simulator == "sinabs" else torch.ones(1, 6)
    with pytest.raises(BnnError) as error:
        bnn.snn.from_torch(net, sample, simulator=simulator)
    assert f"'1' ({name}): found " in str(error.value) and f"no rule for {name} of {title}" in str(error.value), (
        error.value
    )


def next_neurons(library: Any) -> Any:
    """Neurons that have a rule."""
    return next(getattr(library, name) for name in ("IFNode", "IAFCell", "IAF") if hasattr(library, name))()


def test_steps_that_overshoot_are_warned_of() -> None:
    skip_without("norse")
    import norse.torch

    cell = norse.torch.LIFCell(norse.torch.LIFParameters(tau_syn_inv=torch.tensor(1500.0)))
    net = norse.torch.SequentialState(fc(), cell)
    net[0].weight.data.mul_(20)
    with pytest.warns(UserWarning, match=r"1: found dt / tau = 1.5; above 1, every step overshoots"):
        model = bnn.snn.from_torch(net, torch.ones(1, 6), simulator="norse")
    assert model.dt == pytest.approx(1e-3) and len(model.warnings) == 1


def test_wrong_samples_and_silence() -> None:
    skip_without("snntorch")
    net = torch.nn.Sequential(fc(), leaky())
    for sample, words in (
        (torch.ones(6), "found the shape (6,), expected (batch, ...)"),
        (torch.ones(1, 6) / 2, "found 0.5, expected spikes"),
        (torch.full((1, 6), torch.nan), "found nan, expected finite numbers"),
        (torch.ones(1, 7), "it fails in '0' (Linear)"), ("x", "sample: "),
    ):  # fmt: skip
        with pytest.raises(InputError, match=".") as error:
            bnn.snn.from_torch(net, sample, simulator="snntorch")
        assert words in str(error.value), error.value
    for kind in (torch.bfloat16, torch.bool, torch.int64):
        bnn.snn.from_torch(net, torch.ones(2, 6).to(kind), simulator="snntorch")
    net[0].weight.data.mul_(0)
    net[0].bias.data.mul_(0)
    with pytest.warns(UserWarning, match="nothing fired in 1, on the sample and on random inputs"):
        model = bnn.snn.from_torch(net, np.ones((1, 6)), simulator="snntorch", weights="int8")
    assert len(model.warnings) == 1


# -- mistakes --------------------------------------------------------------------------------------------------------


def reset_at_once(modules: dict[str, Any], functions: dict[str, Any]) -> None:
    from bnn.snn.rules import Reset

    right = modules["Leaky"]

    def wrong(found: Any) -> Any:
        made = right(found)
        return replace(made, dynamics=replace(made.dynamics, reset=Reset.SUBTRACT))

    modules["Leaky"] = wrong


def decays_of_another_layer(modules: dict[str, Any], functions: dict[str, Any]) -> None:
    right, seen = modules["Leaky"], []

    def wrong(found: Any) -> Any:
        made = right(found)
        seen.append(made.parameters["beta"])
        return replace(made, parameters={**made.parameters, "beta": seen[0]})

    modules["Leaky"] = wrong


def no_bias(modules: dict[str, Any], functions: dict[str, Any]) -> None:
    right = functions["linear"]
    functions["linear"] = lambda r, result, x, weight, bias=None: right(r, result, x, weight)


@pytest.mark.parametrize("mistake", [reset_at_once, decays_of_another_layer, no_bias])
def test_the_comparison_finds_mistakes(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without("snntorch")
    from bnn.snn import torch_trace
    from bnn.snn.simulators import snntorch

    modules, functions = dict(snntorch._MODULES), dict(torch_trace.FUNCTIONS)
    torch.manual_seed(0)
    net = torch.nn.Sequential(fc(), leaky(beta=0.9), fc(), leaky(beta=0.5))
    bnn.snn.from_torch(net, torch.ones(1, 6), simulator="snntorch")
    mistake(modules, functions)
    for name, value in modules.items():
        monkeypatch.setitem(snntorch._MODULES, name, value)
    for name, value in functions.items():
        monkeypatch.setitem(torch_trace.FUNCTIONS, name, value)
    with pytest.raises(BnnError, match="are not those of its rule|differs from the module in"):
        bnn.snn.from_torch(net, torch.ones(1, 6), simulator="snntorch")
