# SPDX-License-Identifier: Apache-2.0
"""Networks that were trained (or made) in a simulator and exported by it, against the modules themselves.

Files do not say all that neurons do.  For every kind of neuron with every reset that it has: what differs from the
module comes with a warning, or is refused; and what can be said makes the network the module's.  ``-s`` prints a table.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Floats
from bnn.errors import CompileError, SetupError
from bnn.snn.simulators import SIMULATORS
from seed import SEED

from .. import nir_graphs
from ..nir_refused import between, lif, recurrent
from . import importers

STEPS, SAMPLES, SIZES = 40, 2, (12, 20, 5)


@dataclass(frozen=True)
class Row:
    """``made``: neurons of a shape.  ``said``: what is to be said when the file is compiled; None: it cannot be said.
    ``refused``: by the exporter.  ``plain``: nothing is left open."""

    simulator: str
    name: str
    made: Callable[[tuple[int, ...]], Any]
    said: dict[str, Any] | None = field(default_factory=dict)
    refused: str = ""
    plain: bool = False


def snntorch_rows() -> list[Row]:
    def made(name: str, **options: Any) -> Callable[[tuple[int, ...]], Any]:
        def neurons(shape: tuple[int, ...]) -> Any:
            import snntorch
            import torch

            def full(value: float) -> Any:
                return torch.full(shape, value)

            # Its exporter needs one number per neuron.
            values = {"beta": full(0.875), "threshold": full(1.0), "init_hidden": True, **options}
            values |= {"alpha": full(0.5)} if "Synaptic" in name else {}
            if name == "Alpha":
                values = {"alpha": 0.9, "beta": 0.5, "init_hidden": True}
            elif name == "Lapicque":
                values = {"beta": 0.5, "init_hidden": True}
            if name == "RLeaky V":
                values |= {"all_to_all": False, "V": full(-0.25)}
            elif name.startswith("R"):
                values |= {"linear_features": shape[0]}
            return getattr(snntorch, name.split()[0])(**values)

        return neurons

    rows = []
    for name in ("Leaky", "Synaptic", "RLeaky", "RLeaky V", "RSynaptic"):
        for reset in ("subtract", "zero", "none"):
            for delay in (True, False):
                fails = "ValueError" if name == "RSynaptic" and not delay else ""
                options = {"reset_mechanism": reset, "reset_delay": delay}
                said = {"reset": reset, "reset_delay": delay}
                rows.append(Row("snntorch", f"{name} {reset} {delay}", made(name, **options), said, fails))
    return rows + [Row("snntorch", name, made(name), {}, "AttributeError") for name in ("Lapicque", "Alpha")]


def spikingjelly_rows() -> list[Row]:
    def made(name: str, **options: Any) -> Callable[[tuple[int, ...]], Any]:
        def neurons(shape: tuple[int, ...]) -> Any:
            from spikingjelly.activation_based import neuron

            return getattr(neuron, name)(v_threshold=0.75, **options)

        return neurons

    rows = []
    for reset in (0.0, -0.25, None):
        fails = "NotImplementedError" if reset is None else ""
        for name, options in (
            ("IFNode", {}), ("LIFNode", {"tau": 2.5, "decay_input": True}),
            ("LIFNode", {"tau": 2.0}), ("LIFNode", {"tau": 2.5, "decay_input": False}),
            ("ParametricLIFNode", {"init_tau": 2.0}), ("ParametricLIFNode", {"init_tau": 2.0, "decay_input": False}),
            ("ParametricLIFNode", {"init_tau": 3.3}), ("ParametricLIFNode", {"init_tau": 1.7, "decay_input": False}),
            ("CUBALIFNode", {"c_decay": 0.5, "v_decay": 0.75}),
        ):  # fmt: skip
            text = " ".join(f"{key}={value}" for key, value in options.items())
            row_name = f"{name} {text} v_reset={reset}"
            tau = options.get("tau", options.get("init_tau", 2.0))
            said = {"parametric": name.startswith("P")} if tau != 2.0 else {}
            rows.append(
                Row("spikingjelly", row_name, made(name, v_reset=reset, **options), said, fails, plain=not said)
            )
    return rows


def norse_rows() -> list[Row]:
    def made(name: str, reset: float, method: str) -> Callable[[tuple[int, ...]], Any]:
        def neurons(shape: tuple[int, ...]) -> Any:
            import norse.torch as norse
            import norse.torch.functional.reset as resets
            import torch
            from norse.torch.module.iaf import IAFCell, IAFParameters

            def full(value: float) -> Any:
                return torch.full(shape, value)

            values = {"v_th": full(0.75), "v_reset": full(reset)}
            if name == "IAFCell":
                return IAFCell(IAFParameters(**values))
            values |= {"tau_mem_inv": full(250.0), "v_leak": full(0.125)}
            if name == "LIFCell":
                return norse.LIFCell(norse.LIFParameters(**values, tau_syn_inv=full(500.0)))
            method_of = getattr(resets, f"reset_{method}")
            return norse.LIFBoxCell(norse.LIFBoxParameters(**values, reset_method=method_of))

        return neurons

    rows = []
    for name, methods in (("IAFCell", ["value"]), ("LIFBoxCell", ["value", "subtract"]), ("LIFCell", ["value"])):
        for method in methods:
            zero = {"v_reset": 0.0} if method == "value" else {}
            rows.append(Row("norse", f"{name} {method}", made(name, 0.0, method), {"reset": method, **zero}))
        said = {"reset": "value", "v_reset": -0.25}
        rows.append(Row("norse", f"{name} value v_reset=-0.25", made(name, -0.25, "value"), said))
    return rows


def sinabs_rows() -> list[Row]:
    def made(name: str, spikes: str = "multi", **options: Any) -> Callable[[tuple[int, ...]], Any]:
        def neurons(shape: tuple[int, ...]) -> Any:
            import sinabs.layers as layers
            import torch
            from sinabs import activation

            values = {key: torch.full(shape, v) if key.startswith("tau") else v for key, v in options.items()}
            if "spike_threshold" not in values and name != "ExpLeak":
                values["spike_threshold"] = torch.ones(shape)
            if values.get("min_v_mem") is not None:
                values["min_v_mem"] = torch.tensor(values["min_v_mem"])
            if spikes != "multi":
                values["spike_fn"] = activation.SingleSpike
            if spikes == "zero":
                values["reset_fn"] = activation.MembraneReset()
            return getattr(layers, f"{name}Squeeze")(batch_size=1, **values)

        return neurons

    rows = []
    for spikes, floors in (("multi", (None, -1.0, -0.25)), ("single", (None, -0.25)), ("zero", (None, 0.0))):
        sent = {"spike_fn": "multi" if spikes == "multi" else "single"}
        sent |= {"reset": "zero" if spikes == "zero" else "subtract"}
        for floor in floors:
            low = {"min_v_mem": -np.inf if floor is None else floor}
            text = f"{spikes} min_v_mem={floor}"
            rows.append(Row("sinabs", f"IAF {text}", made("IAF", spikes, min_v_mem=floor), {**low, **sent}))
            for norm, tau_syn in ((True, 0.0), (False, 0.0), (True, 3.0), (False, 7.0)):
                said = {**low, "norm_input": norm}
                options = {"tau_mem": 5.0, "min_v_mem": floor, "norm_input": norm}
                text = f"{spikes} min_v_mem={floor} norm_input={norm}"
                if spikes == "multi" and not tau_syn:
                    rows.append(Row("sinabs", f"ExpLeak {text}", made("ExpLeak", **options), said))
                if tau_syn:
                    text, options["tau_syn"] = f"{text} tau_syn={tau_syn:g}", tau_syn
                said = {**said, **sent, "tau_syn": tau_syn}
                rows.append(Row("sinabs", f"LIF {text}", made("LIF", spikes, **options), said))
    return rows


ROWS = [*snntorch_rows(), *spikingjelly_rows(), *norse_rows(), *sinabs_rows()]
DT = {"norse": 1e-3, "snntorch": None, "spikingjelly": 1e-3, "sinabs": 1.0}


def dyadic(module: Any) -> Any:
    """Weights that are multiples of 1/8."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(("weight", "bias")):
                parameter.copy_(torch.randint(-4, 9, parameter.shape) / 8)
    return module


def network(row: Row) -> Any:
    import torch
    from norse.torch import SequentialState

    layers = []
    for n, m in zip(SIZES[:-1], SIZES[1:], strict=True):
        layers += [dyadic(torch.nn.Linear(n, m)), dyadic(row.made((m,)))]
    return SequentialState(*layers) if row.simulator == "norse" else torch.nn.Sequential(*layers)


def export(simulator: str, net: Any, shape: tuple[int, ...], path: Path) -> None:
    """As the page says."""
    import nir
    import torch

    with contextlib.redirect_stdout(io.StringIO()), importers.quiet():
        if simulator == "snntorch":
            from snntorch.export_nir import export_to_nir

            nir.write(path, export_to_nir(net, torch.zeros(1, *shape), ignore_dims=[0]))
        elif simulator == "spikingjelly":
            from spikingjelly.activation_based.nir_exchange import export_to_nir as export_spikingjelly

            export_spikingjelly(net, torch.zeros(1, *shape), path, dt=1e-3)
        elif simulator == "norse":
            from norse.torch import to_nir

            nir.write(path, to_nir(net, torch.zeros(*shape), dt=1))
        else:
            from sinabs.nir import to_nir as to_sinabs

            with torch.no_grad():
                root = plain(to_sinabs(net, torch.zeros(1, *shape)).to_dict())
            for made in root["nodes"].values():
                if made["type"] == "Conv2d":  # which nir does not write without
                    made["input_shape"] = np.array(shape[1:])
            nir_graphs.write(path, root)


def plain(value: Any) -> Any:
    """Without torch's tensors and shapes that are not known, which sinabs leaves and nir does not write."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return value.numpy() if hasattr(value, "numpy") else value


def sent(simulator: str, net: Any, x: Floats) -> Floats:
    """What a module sends, (T, n), for one sample (T, ...), called as its simulator's tutorials do."""
    import torch

    rows, state = [], None
    with torch.no_grad(), importers.quiet():
        if simulator == "sinabs":
            for part in net.modules():
                if hasattr(part, "reset_states"):
                    part.reset_states()
            return np.asarray(net(torch.from_numpy(x)).numpy()).reshape(len(x), -1)
        if simulator == "spikingjelly":
            from spikingjelly.activation_based import functional

            functional.reset_net(net)
        for part in net:
            if hasattr(part, "reset_mem"):
                part.reset_mem()
        for step in x:
            given = torch.from_numpy(step[None])
            if simulator == "norse":
                out, state = net(given, state)
            else:
                out = net(given)
            rows.append((out[0] if isinstance(out, tuple) else out).numpy().reshape(-1))
    return np.array(rows)


def compiled(path: Path, simulator: str, said: dict[str, Any]) -> tuple[Any, list[str]]:
    """The network, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = bnn.snn.compile(path, simulator=simulator, dt=DT[simulator], **said)
    found = [str(w.message) for w in caught if w.category is UserWarning]
    assert tuple(found) == model.warnings
    return model, found


def differences(row: Row, net: Any, model: Any, path: Path, x: Floats) -> int:
    """Of the output from the module's; ``verify`` says whether there are any."""
    theirs = np.stack([sent(row.simulator, net, x[:, i]) for i in range(x.shape[1])], axis=1)
    ours = model.run(x).output.reshape(theirs.shape)
    report = bnn.verify_snn(path, model, x, module=net, allow_silent=True)
    assert report.oracle == 0 and all(not layer.alone for layer in report.layers), report
    different = np.count_nonzero(ours != theirs if ours.dtype == np.uint8 else ~np.isclose(ours, theirs, 1e-5, 1e-5))
    last = report.layers[-1].trained or 0  # of real values, a few may lie between this rounding and the bound
    assert last == different or (ours.dtype != np.uint8 and last > 0 and abs(last - different) < 0.1 * last), report
    assert report.ok == (not any(layer.trained for layer in report.layers)), report
    return sum(layer.trained or 0 for layer in report.layers)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.simulator} {row.name}")
def test_nothing_differs_from_the_module_without_a_warning(row: Row, tmp_path: Path) -> None:
    for needed in (row.simulator, "norse"):
        if reason := importers.why_not(needed):
            pytest.skip(reason)
    seed = start()
    net, path = network(row), tmp_path / "a.nir"
    if row.refused:
        with pytest.raises(Exception) as raised:
            export(row.simulator, net, SIZES[:1], path)
        assert type(raised.value).__name__ == row.refused
        print(f"| {row.simulator} | {row.name} | its exporter refuses |")
        return
    export(row.simulator, net, SIZES[:1], path)
    x: Floats = (np.random.default_rng(seed).random((STEPS, SAMPLES, SIZES[0])) < 0.4).astype(np.float32)
    model, found = compiled(path, row.simulator, {})
    default = differences(row, net, model, path, x)
    assert not found if row.plain else len(found) == 1
    assert found or not default
    text = "cannot be said"
    if row.said is not None:
        model, left = compiled(path, row.simulator, row.said)
        assert not left and not differences(row, net, model, path, x)
        text = f"0 with {row.said}" if row.said else "nothing to say"
    of = x.shape[0] * x.shape[1] * sum(SIZES[1:])
    print(f"| {row.simulator} | {row.name} | {default} of {of}{', warned' if found else ''} | {text} |")


def start() -> int:
    import torch

    print(f"BNN_TEST_SEED={SEED}")
    torch.manual_seed(SEED)
    return SEED


@pytest.mark.parametrize("simulator", ["snntorch", "spikingjelly", "sinabs"])
def test_convolutions(simulator: str, tmp_path: Path) -> None:
    if reason := importers.why_not(simulator):
        pytest.skip(reason)
    seed = start()
    from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Sequential

    layers: list[Any]
    if simulator == "snntorch":  # its exporter writes one number for the pool's rows and columns
        row = Row(simulator, "", snntorch_rows()[0].made)
        layers = [Conv2d(2, 3, 3), row.made((3, 6, 6)), AvgPool2d(2), Flatten(1), Linear(27, 5), row.made((5,))]
    elif simulator == "spikingjelly":
        from spikingjelly.activation_based import layer

        row = Row(simulator, "", spikingjelly_rows()[0].made)
        layers = [layer.Conv2d(2, 3, 3), row.made(()), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(27, 5),
                  row.made(())]  # fmt: skip
    else:
        import sinabs.layers as sl

        row = Row(simulator, "", sinabs_rows()[0].made)
        layers = [Conv2d(2, 3, 3), sl.IAFSqueeze(batch_size=1), sl.SumPool2d(2), Flatten(), Linear(27, 5),
                  sl.IAFSqueeze(batch_size=1)]  # fmt: skip
    net, path = dyadic(Sequential(*layers)), tmp_path / "a.nir"
    export(simulator, net, (2, 8, 8), path)
    x: Floats = (np.random.default_rng(seed).random((10, SAMPLES, 2, 8, 8)) < 0.4).astype(np.float32)
    model, _ = compiled(path, simulator, {})
    assert model.run(x).output.any() and differences(row, net, model, path, x) == 0


def test_networks_with_cycles_are_verified(tmp_path: Path) -> None:
    """What nirtorch makes of a cycle cannot be copied once it has run."""
    if reason := importers.why_not("norse"):
        pytest.skip(reason)
    path = nir_graphs.write(tmp_path / "a.nir", recurrent(lif(2e-3, n=2)))
    model, _ = compiled(path, "norse", {})
    report = bnn.verify_snn(path, model, samples=3, rate=0.7)
    assert report.ok and report.proven and report.layers[0].alone == 0, report


def test_a_package_that_a_simulator_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := importers.why_not("norse"):
        pytest.skip(reason)
    path = nir_graphs.write(tmp_path / "a.nir", between(lif(2e-3)))
    model, _ = compiled(path, "norse", {})
    for failure, kind, words in (
        (ModuleNotFoundError("No module named 'loguru'", name="loguru"), SetupError,
         "Norse 1.1: norse needs the package loguru, which is not installed; run: pip install loguru"),
        (ValueError("inner"), CompileError, r"a.nir: Norse 1.1's importer fails on it \(ValueError: inner\)"),
    ):  # fmt: skip

        def fails(*_: Any, failure: Exception = failure) -> Any:
            raise failure

        monkeypatch.setitem(SIMULATORS, "norse", replace(SIMULATORS["norse"], over_time=fails))
        with pytest.raises(kind, match=words):
            bnn.verify_snn(path, model)
