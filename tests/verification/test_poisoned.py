# SPDX-License-Identifier: Apache-2.0
"""A simulator in NumPy with one wrong weight, step or neuron: each alone is reported.

It is also a second opinion of what a NIR file says: it shares no code with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import bnn
import bnn.snn
import graphs
from bnn._types import Array, Floats
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.ir.ops import input_node
from bnn.passes import lower
from bnn.snn.simulators import IMPORTERS
from seed import SEED
from snn import nir_graphs

Poison = Callable[..., None]
STEPS, SAMPLES, SIZES = 12, 2, {"first": 7, "second": 5, "last": 3}


def neurons(kind: str, n: int) -> Any:
    """Of a time constant of two steps, that scale their input or not; or of none."""
    one = np.ones(n, np.float32)
    if kind == "IF":
        return nir_graphs.node("IF", r=1000 * one, v_threshold=one, v_reset=0 * one)
    r = one if kind == "decays" else 2 * one
    return nir_graphs.node("LIF", tau=0.002 * one, r=r, v_leak=0 * one, v_threshold=one, v_reset=0 * one)


def file(path: Path, rng: np.random.Generator, kinds: Any, weights: Floats | None = None) -> Path:
    """Three populations, whose every neuron fires from time to time: weights of both signs, and a bias above 0."""
    nodes, before = {"input": nir_graphs.node("Input", shape=[9])}, 9
    for (name, n), kind in zip(SIZES.items(), kinds, strict=False):
        drawn = (rng.integers(-3, 5, (n, before)) / 4).astype(np.float32) if weights is None else weights
        bias = np.full(len(drawn), 0.75 if weights is None else 0, np.float32)
        nodes[f"{name}_fc"] = nir_graphs.node("Affine", weight=drawn, bias=bias)
        nodes[name], before = neurons(kind, len(drawn)), len(drawn)
    return nir_graphs.write(path, nir_graphs.chain(**nodes, output=nir_graphs.node("Output", shape=[before])))


@pytest.fixture
def compiled(poison: Poison, rng: np.random.Generator, tmp_path: Path) -> tuple[Path, Any, Array]:
    """A file, its network, and samples in which something changes."""
    path = file(tmp_path / "net.nir", rng, rng.permutation(["IF", "decays", "scales"]))
    model = bnn.snn.compile(path, simulator="spikingjelly", dt=1e-3, parametric=False)
    return path, model, (rng.random((STEPS, SAMPLES, 9)) < 0.4).astype(np.float32)


def sent(path: Path, x: Array) -> dict[str, Floats]:
    """What each population of the simulator sends, (SAMPLES * STEPS, n)."""
    import nir
    import torch
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    found: dict[str, list[Floats]] = {name: [] for name in SIZES}
    for sample in range(SAMPLES):
        module = import_from_nir(nir.read(path), dt=1e-3)
        for name, part in module.named_modules():
            if name in SIZES:
                part.register_forward_hook(lambda part, given, out, name=name: found[name].append(out.numpy()[0]))
        for step in x[:, sample]:
            module(torch.Tensor(step[None]))
    return {name: np.array(rows) for name, rows in found.items()}


def differing(report: Any) -> dict[str, dict[str, int]]:
    """The counts that are not 0, by population."""
    names = ("fed", "alone", "trained")
    return {
        x.name: found for x in report.layers if (found := {n: getattr(x, n) for n in names if getattr(x, n)})
    }  # fmt: skip


def test_every_spike_is_the_simulators(compiled: Any, rng: np.random.Generator) -> None:
    """And none of any neuron in any step can be another without a report that names it."""
    path, model, x = compiled
    report, right = bnn.verify_snn(path, model, x), sent(path, x)
    assert report.equal and report.proven and not differing(report), report
    assert [(y.name, y.spikes, y.decisions) for y in report.layers] == [
        (name, int(rows.sum()), rows.size) for name, rows in right.items()
    ]
    assert report.ok == all(rows.any() for rows in right.values())


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("trained", [False, True])
def test_one_spike_of_one_neuron_in_one_step(
    name: str, trained: bool, compiled: Any, poison: Poison, rng: np.random.Generator
) -> None:
    """Of the simulator, or of the module that was trained: the first difference is there, whatever follows from it."""
    path, model, x = compiled
    call, neuron = int(rng.integers(STEPS * SAMPLES)), int(rng.integers(SIZES[name]))
    other = {"call": call, "neuron": neuron, "sent": 1 - float(sent(path, x)[name][call, neuron])}
    module = None
    if trained:
        import nir
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        poison(**{name: other})
        module = import_from_nir(nir.read(path), dt=1e-3)
        poison()
    else:
        poison(**{name: other})
    report = bnn.verify_snn(path, model, x, module=module, allow_silent=True)
    first = (call // STEPS, call % STEPS, name, neuron)
    found = differing(report)
    assert not report.ok and report.verdict == "DIFFERENT" and list(found)[0] == name, report
    if trained:
        assert report.first_trained == first and not report.excused_trained and found[name].keys() == {"trained"}
        assert report.first is None and report.module.startswith("step by step, with (1, 9)")
        assert "compile it with what yours do" in str(report)
    else:
        assert report.first == first and not report.excused and found[name]["fed"] > 0, report
        assert all("fed" not in counts for other, counts in found.items() if other != name)
    assert f"sample {first[0]}, step {first[1]}, {name}, neuron {neuron}" in str(report)


def test_the_first_of_two_differences(compiled: Any, poison: Poison) -> None:
    """Is that of the earlier step, whatever the population; in one step, of the earlier population."""
    path, model, x = compiled
    right = sent(path, x)
    for early, late, expected in ((2, 5, (0, 2, "last", 1)), (5, 5, (0, 5, "first", 1)), (7, 5, (0, 5, "first", 1))):
        calls = {"last": early, "first": late}
        poison(**{
            name: {"call": call, "neuron": 1, "sent": 1 - float(right[name][call, 1])} for name, call in calls.items()
        })  # fmt: skip
        assert bnn.verify_snn(path, model, x, allow_silent=True).first == expected


@pytest.mark.parametrize("name", SIZES)
def test_a_population_that_the_simulator_has_not(name: str, compiled: Any, poison: Poison) -> None:
    """Nothing of it is compared."""
    path, model, x = compiled
    poison(renamed={name: "other"})
    report = bnn.verify_snn(path, model, x, allow_silent=True)
    assert report.missing == [name] and report.equal and report.verdict == f"NOT COMPARED: the simulator has no {name}"


@pytest.mark.parametrize("name", SIZES)
def test_one_weight(name: str, compiled: Any, poison: Poison, rng: np.random.Generator) -> None:
    """Of the simulator: on its own currents nothing differs.  Of the file: it is another network's."""
    path, model, x = compiled
    place = [int(rng.integers(SIZES[name])), 0]
    x[:, :, 0] = 1
    fires = sent(path, x)[name][:, place[0]].any()
    poison(**{f"{name}_fc": {"weight": [place, -64.0 if fires else 64.0]}})
    if name == "first":  # others may have no source that fires
        report = bnn.verify_snn(path, model, x, allow_silent=True)
        assert not report.ok and report.first is not None and report.first[2:] == (name, place[0])
        assert not any("fed" in counts for counts in differing(report).values())
    with h5py.File(path, "r+") as root:
        root[f"node/nodes/{name}_fc/weight"][tuple(place)] += 0.25
    with pytest.raises(bnn.InputError, match="was not compiled from this file"):
        bnn.verify_snn(path, model, x)


def test_what_rounding_turns_is_excused(poison: Poison, rng: np.random.Generator, tmp_path: Path) -> None:
    """Sums that reach the threshold in the simulator's order and not in the engine's; a weight that is another is
    none of it."""
    triple = np.zeros(3, np.float32)
    while not (triple[0] + triple[1] + triple[2] < 1 <= triple[2] + triple[1] + triple[0]):
        triple = rng.uniform(0.1, 0.5, 3).astype(np.float32)
        triple[2] = np.nextafter(np.float32(1) - triple[0] - triple[1], np.float32(rng.integers(2)))
    weights = np.zeros((2, 9), np.float32)
    weights[:, :3] = triple
    weights[1, 3] = 1.5  # fires well above its threshold
    path = file(tmp_path / "net.nir", rng, ["IF"], weights)
    model = bnn.snn.compile(path, simulator="spikingjelly", dt=1e-3)
    x = np.ones((1, 9), np.float32)
    report = bnn.verify_snn(path, model, x)
    assert report.ok and not report.proven and report.first == (0, 0, "first", 0) and report.excused, report
    assert differing(report) == {"first": {"alone": 1}} and report.layers[0].at_risk == 1
    poison(first={"call": 0, "neuron": 1, "sent": 0})
    assert not bnn.verify_snn(path, model, x).ok  # the excused one is the first: its own currents say it
    poison(first_fc={"weight": [[1, 3], -3.0]})
    report = bnn.verify_snn(path, model, x[:, None] * [1, 1, 0, 1, 1, 1, 1, 1, 1])
    assert not report.ok and report.first == (0, 0, "first", 1) and not report.excused


# -- the network of an image as spikes --------------------------------------------------------------------------------


@pytest.fixture
def emitted(poison: Poison, builder: Any, tmp_path: Path) -> tuple[Path, Any, Array]:
    """A NIR file of Affine and IF nodes, the compiled network of four dense layers, and images."""
    build = builder(SEED)
    x = h = input_node("image", (12,))
    for name, units in (("a", 40), ("b", 11), ("c", 9), ("d", 4)):
        h = build.dense(h if name == "a" else build.sign(h, f"sign_{name}"), units, name)
        h = build.norm(h, f"norm_{name}") if name != "d" else h
    model = bnn.Model.from_bytes(encode(lower(Graph((x,), (h,), ("classes",)))))
    bnn.emit_nir(model, tmp_path / "net.nir", profile="flat")
    return tmp_path / "net.nir", model, build.inputs(5, (12,))[0]


def test_every_spike_of_an_image_is_the_runtimes(emitted: Any) -> None:
    path, model, x = emitted
    done: list[int] = []
    report = bnn.verify_nir(path, model, x, batch_size=2, progress=done.append)
    (run,) = report.runs
    assert not report.differs and run.importer == "spikingjelly" and run.images == 5 and done == [2, 2, 1], report
    assert [layer.kind for layer in run.layers] == ["spikes", "spikes", "sums"]
    assert run.compared == 5 * sum(int(np.prod(node["bias"].shape)) for node in affine(path).values())


def affine(path: Path) -> dict[str, dict[str, Any]]:
    with h5py.File(path, "r") as root:
        nodes = root["node/nodes"]
        return {n: {k: v[()] for k, v in nodes[n].items()} for n in nodes if "weight" in nodes[n]}


@pytest.mark.parametrize(("quantizer", "kernel"), [("dorefa2", "signs"), ("tern", "ternary")])
def test_levels_are_several_spikes(quantizer: str, kernel: str, poison: Poison, tmp_path: Path, rng: Any) -> None:
    """Whose bits are no tensors of the compiled network's."""
    model = bnn.Model.from_bytes(encode(lower(graphs.levels_graph(rng, quantizer, kernel))))
    bnn.emit_nir(model, tmp_path / "net.nir", profile="flat")
    x = (rng.integers(0, 256, (3, *model.input_shapes[0])) / 256).astype(np.float32)
    report = bnn.verify_nir(tmp_path / "net.nir", model, x)
    assert not report.differs, report


@pytest.mark.parametrize("value", [None, 2.0, -1.0, 0.5, float("nan")])
def test_one_spike_of_one_image(value: float | None, emitted: Any, poison: Poison, rng: np.random.Generator) -> None:
    """The other one, or what is no spike: of the layer, the image and the neuron that are told."""
    path, model, x = emitted
    image = int(rng.choice([0, 3, 4]))  # the last is in another batch
    layer = bnn.verify_nir(path, model, x).runs[0].layers[int(rng.integers(2))]
    neuron = int(rng.integers(layer.compared // 5))
    for sends in (0.0, 1.0) if value is None else (value,):
        where = {"row": image % 4, "rows": 1 if image == 4 else 4}
        poison(**{layer.layer: {"call": 0, "neuron": neuron, "sent": sends, **where}})
        report = bnn.verify_nir(path, model, x, batch_size=4)
        found = next(one for one in report.runs[0].layers if one.layer == layer.layer)
        if value is None and found.ok:
            continue  # it sent that anyway
        assert not report.ok and not report.changes and report.runs[0].error == ""
        assert (found.compared, found.mismatched, found.outside) == (layer.compared, 1, int(value is not None)), report
        assert found.first.startswith(f"first in image {image}, layer '") and f" element ({neuron},): " in found.first
        assert f"found {sends:g}, the C runtime has" in found.first and f"spikes wrong; {found.first}" in str(report)
        poison(**{layer.layer: {"call": 0, "neuron": neuron, "sent": float("nan")}})
        (wrong,) = (one for one in bnn.verify_nir(path, model, x, batch_size=4).runs[0].layers if one.outside)
        assert wrong.mismatched == 2 and wrong.first.startswith("first in image 0, ")  # of two batches
        break
    else:
        pytest.fail("neither spike is wrong")


def test_classes_are_those_of_all_outputs(poison: Poison, two_by_two: Any, tmp_path: Path) -> None:
    """A sum that is far larger, or far smaller, changes the class of its own output, whichever that is."""
    model, path, x = bnn.Model.from_bytes(two_by_two.data), tmp_path / "net.nir", two_by_two.inputs(5)
    bnn.emit_nir(model, path, profile="flat")
    assert not bnn.verify_nir(path, model, x).differs
    *_, last = affine(path)
    neurons, clock = affine(path)[last]["weight"].shape[0], affine(path)[last]["weight"].shape[1] - 1
    for neuron in (0, neurons - 1):
        found = []
        for more in (1e4, -1e4):
            poison(**{last: {"weight": [[neuron, clock], more]}})
            found.append(bnn.verify_nir(path, model, x).runs[0].classes_different)
        assert max(found) > 0, neuron


def test_what_an_importer_raises_is_its_report(emitted: Any, poison: Poison) -> None:
    path, model, x = emitted
    for words, says in (
        ("first\nsecond", "ValueError: first"),
        ("x" * 500, f"ValueError: {'x' * 300}"),
        ("", "ValueError: "),
    ):
        poison(fails=words)
        (run,) = (report := bnn.verify_nir(path, model, x)).runs
        assert run.error == says and not report.ok and (run.images, run.compared) == (0, 0) and run.seconds > 0


def test_which_importers_are_installed(emitted: Any, tmp_path: Path) -> None:
    """One that does not run the profile is asked only by its name, and says why not."""
    path, model, x = emitted
    site = tmp_path / "site"
    (site / "spikingjelly-1.dist-info").rename(site / "rockpool-1.dist-info")
    if IMPORTERS["spikingjelly"].version() or IMPORTERS["norse"].version():
        pytest.skip("others are installed")
    (run,) = bnn.verify_nir(path, model, x, "rockpool").runs
    assert run.error.endswith("within the step that profile 'lif' takes; use 'cuba')")
    with pytest.raises(bnn.SetupError, match="profile 'flat': found rockpool, expected norse or spikingjelly; "):
        bnn.verify_nir(path, model, x, "all")
    (site / "rockpool-1.dist-info").rename(site / "another-1.dist-info")
    for name in ("norse", "all"):
        with pytest.raises(bnn.SetupError, match=r"norse.*: not installed; pip install .*'norse<"):
            bnn.verify_nir(path, model, x, name)


def test_images_that_change_nothing(emitted: Any) -> None:
    path, model, x = emitted
    report = bnn.verify_nir(path, model, np.repeat(x[:1], 4, axis=0), batch_size=2)
    assert not report.ok and not report.differs and len(report.silent) == 2
    assert bnn.verify_nir(path, model, np.repeat(x[:1], 4, axis=0), allow_silent=True).ok


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("producer", "other", "only files from bnn.emit_nir can be verified"), ("producer", None, "only files from"),
        ("producer", np.zeros((2, 3)), "only files from bnn|emit it again"),
        ("bnn_sha256", "0" * 64, "was emitted from another .bnn file"),
        ("profile", "spikes", "name the profile 'spikes', expected one of"), ("profile", None, "name the profile None"),
    ],
)  # fmt: skip
def test_which_files_are_read(name: str, value: Any, words: str, emitted: Any) -> None:
    path, model, x = emitted
    with h5py.File(path, "r+") as root:
        del root[f"node/metadata/{name}"]
        if value is not None:
            root[f"node/metadata/{name}"] = value
    with pytest.raises(bnn.ModelFormatError, match=words):
        bnn.verify_nir(path, model, x)


def test_another_structure_is_not_run(emitted: Any) -> None:
    """Importers follow the edges, and some would never come back."""
    path, model, x = emitted

    def place(key: str, value: Any) -> None:
        with h5py.File(path, "r+") as root:
            del root[key]
            root.create_dataset(key, data=value, dtype=h5py.string_dtype())

    with h5py.File(path, "r+") as root:
        edges = root["node/edges"].asstr()[()].tolist()
        (_, first), (_, second), *_ = edges
        root["node/nodes"].move(first, "other")
    place(
        "node/edges",
        np.array([[end.replace(first, "other") if end == first else end for end in e] for e in edges], object),
    )
    report = bnn.verify_nir(path, model, x)
    assert report.changes == [
        f"node '{first}' is missing", "node 'other' is not the model's", f"edge 'input' -> '{first}' is missing",
        f"edge '{first}' -> '{second}' is missing", "edge 'input' -> 'other' is not the model's",
        f"edge 'other' -> '{second}' is not the model's",
    ]  # fmt: skip
    assert not report.ok and report.runs[0].skipped == "the file's nodes or edges are not the model's"
    with h5py.File(path, "r+") as root:
        root["node/nodes"].move("other", first)
    place("node/edges", np.array(edges, object))
    assert not bnn.verify_nir(path, model, x).differs
    place(f"node/nodes/{first}/type", "Linear")
    with h5py.File(path, "r+") as root:
        del root[f"node/nodes/{first}/bias"]
    report = bnn.verify_nir(path, model, x)
    assert report.changes == [f"node '{first}' is Linear, expected Affine"] and not report.ok


def test_one_weight_of_an_image_network(emitted: Any, poison: Poison, rng: np.random.Generator) -> None:
    """Of the simulator: sums, and the class that they make.  Of the file: whether or not the data would show it."""
    path, model, x = emitted
    *_, last = affine(path)
    clock = affine(path)[last]["weight"].shape[1] - 1
    found = bnn.verify_nir(path, model, x).runs[0]
    classes = model(x).argmax(axis=1)
    other = int((classes[0] + 1) % 4)
    poison(**{last: {"weight": [[other, clock], 1e4]}})  # the clock always fires
    run = bnn.verify_nir(path, model, x, batch_size=2).runs[0]
    assert found.classes_different == 0 and not run.ok and run.mismatched == run.layers[-1].mismatched == 5
    assert run.classes_different == np.count_nonzero(classes != other)
    poison()
    for name, values in affine(path).items():
        at = tuple(int(rng.integers(n)) for n in values["weight"].shape)
        with h5py.File(path, "r+") as root:
            root[f"node/nodes/{name}/weight"][at] += 0.5
        report = bnn.verify_nir(path, model, x[:1])
        assert not report.ok and f"node '{name}': 1 of " in report.changes[-1], report.changes
        with h5py.File(path, "r+") as root:
            root[f"node/nodes/{name}/weight"][at] -= 0.5
    assert not bnn.verify_nir(path, model, x).differs


def test_the_command_reports_a_difference(compiled: Any, poison: Poison, tmp_path: Path, capfd: Any) -> None:
    """By its status and in words, from a process of its own."""
    pytest.importorskip("click")
    from bnn.cli import main

    path, model, x = compiled
    model.save(tmp_path / "net.snn")
    np.save(tmp_path / "x.npy", x)
    poison(second={"call": STEPS + 4, "neuron": 2, "sent": 1 - float(sent(path, x)["second"][STEPS + 4, 2])})
    command = ["snn", "verify", str(path), str(tmp_path / "net.snn"), "--data", str(tmp_path / "x.npy")]
    assert main([*command, "--allow-silent"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "DIFFERENT" and "first difference: sample 1, step 4, second, neuron 2" in lines, lines
