# SPDX-License-Identifier: Apache-2.0
"""Every public function and method, given what no argument, or only another, may be: a BnnError that says what was
found and what was expected; no other exception, no memory that is not there, no hang.

A call takes a random choice of the values in each run; all with BNN_WRONG_VALUES=all.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import resource
import signal
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
import conftest
from bnn import events, runtime, snn
from bnn._arguments import (
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_kind,
    check_number,
    check_text,
    shown,
)  # fmt: skip
from bnn.runtime.stepper import Stepper
from bnn.snn.convert import convert
from bnn.snn.learning import Feedback, Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from bnn.streams import recordings
from conftest import Limit
from opened import again
from snn.small import small_network

SECONDS, MEMORY = 20, 2**32
CHOSEN = 12  # of the values, for each argument


class Strange:
    """Says that it is an array, and fails."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def generator() -> Iterator[int]:
    yield 1


def vast(*shape: int, dtype: Any = np.float32) -> Any:
    """An array of 2**40 rows that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), (2**40, *shape))


#: What makes a value anew: some are used up, or written to.
VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "True": lambda: True, "-1": lambda: -1, "0": lambda: 0, "2": lambda: 2, "1.5": lambda: 1.5,
    "10**9": lambda: 10**9, "10**30": lambda: 10**30, "nan": lambda: float("nan"), "inf": lambda: float("inf"),
    "complex": lambda: 1j, "text": lambda: "x", "no text": lambda: "", "null": lambda: "a\0b", "bytes": lambda: b"x",
    "surrogate": lambda: "\udcff", "long text": lambda: "x" * 10000,
    "list": lambda: [], "ragged": lambda: [[1.0], [1.0, 2.0]], "list of None": lambda: [None], "texts": lambda: ["x"],
    "dict": lambda: {}, "dict of None": lambda: {"x": None}, "dict of 1": lambda: {1: 1}, "tuple": lambda: (),
    "set": lambda: {1}, "generator": generator, "range": lambda: range(3), "object": object, "type": lambda: int,
    "function": lambda: (lambda *_: None), "path": lambda: Path("no such file"), "strange": Strange,
    "empty": lambda: np.zeros(0, np.float32), "0-d": lambda: np.float32(1), "0-d array": lambda: np.array(1.0),
    "objects": lambda: np.array([None, "x"], object), "dates": lambda: np.zeros(3, "M8[s]"),
    "array": lambda: np.zeros((2, 3), np.float32), "int64": lambda: np.zeros((2, 3), np.int64),
    "structured": lambda: np.zeros(3, [("x", "<i4"), ("y", "<i4")]), "masked": lambda: np.ma.masked_all((1, 12, 12, 1)),
}  # fmt: skip
VAST: dict[str, Callable[[], Any]] = {
    "vast": lambda: vast(64), "vast images": lambda: vast(12, 12, 1), "vast steps": lambda: vast(2, 8, 8),
    "vast events": lambda: vast(dtype=recordings.EVENT), "vast numbers": lambda: vast(dtype=np.int64),
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A callable, arguments that are right, and the arguments that are tried (default: all)."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    tried: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        kinds = inspect.signature(self.function).parameters.values()
        return list(self.tried) or [p.name for p in kinds if p.kind is not p.VAR_KEYWORD]

    def run(self, **other: Any) -> Any:
        return self.function(**{**self.arguments, **other})


def taught(**rule: Any) -> Network:
    """The same, by feedback: values that an input gives."""
    values = {name: np.full(1, value, np.float32) for name, value in {"threshold": 1, "reset": 0, "initial": 0}.items()}
    usual = {"signal": 1, "rate": 1e-3, "decay": 0.9}
    readout = Population("readout", (5,), Dynamics(RULES["integrate"], emits=Emits.VALUES), values, output=True)
    return Network(
        [Population("pixels", (64,)), Population("given", (5,), input_emits=Emits.VALUES), readout],
        [Projection(0, 2, "dense", np.zeros((64, 5), np.float32), learning=Feedback(**{**usual, **rule}))],
    )


def learner(**rule: Any) -> Network:
    """As docs/spikes/learning.md has it."""
    numbers = {"threshold": 4, "reset": 0, "initial": 0, "rest": 0, "decay": 0.9, "period": 0, "step": 0.05, "fall": 1}
    values = {name: np.full(1, value, np.float32) for name, value in numbers.items()}
    neurons = Dynamics(RULES["adaptive"], Reset.VALUE, at_least=True, winner=True)
    usual = {"nu_pre": 1e-4, "nu_post": 1e-2, "decay_pre": 0.95, "decay_post": 0.95}
    weights = 0.3 * np.random.default_rng(0).random((64, 5), np.float32)
    return Network(
        [Population("pixels", (64,)), Population("neurons", (5,), neurons, values, output=True)],
        [Projection(0, 1, "dense", weights, name="weights", learning=Learning(**{**usual, **rule}))],
        dt=1e-3,
    )  # fmt: skip


def built(**other: Any) -> Any:
    """The small network with other fields of its first population, or of its own."""
    made = small_network()
    own = {key: other.pop(key) for key in ("populations", "projections", "dt", "simulator", "channels_first")
           if key in other}  # fmt: skip
    if other:
        made.populations[0] = Population(**{"name": "input", "shape": (8, 8, 2), **other})
    for key, value in own.items():
        setattr(made, key, value)
    return snn.build(made)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Models, engines, runs and files; what is written goes to a folder of its own."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("wrong"))
    small = conftest.Small(conftest.small_graph())
    w = SimpleNamespace(data=small.data, x=small.inputs(2)[0], snn_data=snn.build(small_network()).to_bytes())
    Path("net.bnn").write_bytes(w.data)
    Path("net.snn").write_bytes(w.snn_data)
    w.model, w.spiking, w.learner = bnn.load("net.bnn"), snn.load("net.snn"), snn.build(learner())
    w.stepper, w.engine = w.model.stepper(2), events.EventEngine(w.model)
    w.s = np.random.default_rng(0).random((6, 2, 8, 8)) < 0.2
    t = np.arange(60) * 300
    w.columns = {"x": t % 8, "y": t // 7 % 8, "p": t % 2, "t": t}
    w.events = recordings.from_fields(**w.columns)
    np.savez("events.npz", **w.columns)
    w.image = w.engine.run_image(w.x[0], trace=True)
    w.stream, w.recording = w.engine.run_stream(w.x), w.engine.run_events(w.events)
    w.steps = w.spiking.run_stream(w.s, trace=True)
    w.seen = w.spiking.run_events(w.events, origin=(0, 0))
    w.convolution = next(op.index for op in w.model.ops if op.op == "conv2d")
    if importlib.util.find_spec("onnxruntime"):
        import hostile_text

        hostile_text.onnx_file(Path("net.onnx"))
        w.from_onnx = bnn.compile("net.onnx")
    yield w
    os.chdir(before)


_OPTIONS = ("input_shape", "zero", "unsafe")
CALLS: dict[str, Callable[[Any], Call]] = {
    "bnn.load": lambda w: Call(bnn.load, {"path": "net.bnn"}),
    "Model": lambda w: Call(bnn.Model, {"opened": again(w.model)}, ("opened",)),
    "Model.from_file": lambda w: Call(bnn.Model.from_file, {"path": "net.bnn"}),
    "Model.from_bytes": lambda w: Call(bnn.Model.from_bytes, {"data": w.data}),
    "Model.__call__": lambda w: Call(w.model.__call__, {"x": w.x}),
    "Model.predict": lambda w: Call(w.model.predict, {"x": w.x}),
    "Model.evaluate": lambda w: Call(w.model.evaluate, {"x": w.x, "y": np.zeros(len(w.x), int)}),
    "Model.check_inputs": lambda w: Call(w.model.check_inputs, {"x": w.x}),
    "Model.activations": lambda w: Call(w.model.activations, {"x": w.x}),
    "Model.profile": lambda w: Call(w.model.profile, {"x": w.x, "repeats": 1}),
    "Model.summary": lambda w: Call(w.model.summary, {}),
    "Model.with_kernels": lambda w: Call(w.model.with_kernels, {"kernels": "portable"}),
    "Model.stepper": lambda w: Call(w.model.stepper, {"images": 2}),
    "Model.save": lambda w: Call(w.model.save, {"path": "out.bnn"}),
    "Preprocessing.apply": lambda w: Call(bnn.Preprocessing(2.0, (1.0,)).apply, {"pixels": np.rint(w.x)}),
    "read_picture": lambda w: Call(bnn.read_picture, {
        "model": bnn.load(EXAMPLES / "digits.bnn"), "picture": str(EXAMPLES / "seven.png")}),
    "Stepper": lambda w: Call(Stepper, {"opened": again(w.model), "images": 1}),
    "Stepper.poke": lambda w: Call(w.stepper.poke, {"tensor": w.model.tensors[0].index, "values": w.x}),
    "Stepper.peek": lambda w: Call(w.stepper.peek, {"tensor": 0, "images": 1}),
    "Stepper.step": lambda w: Call(w.stepper.step, {"op": 0, "images": 1}),
    "Stepper.step_raw": lambda w: Call(w.stepper.step_raw, {"op": w.convolution, "images": 1}),
    "EventEngine": lambda w: Call(events.EventEngine, {"model": w.model}),
    "EventEngine.reset": lambda w: Call(w.engine.reset, {"x": w.x[:1]}),
    "EventEngine.step": lambda w: Call(w.engine.step, {"x": w.x[:1]}),
    "EventEngine.push": lambda w: Call(w.engine.push, {"x": w.x[:1]}),
    "EventEngine.time_frames": lambda w: Call(w.engine.time_frames, {"frames": w.x}),
    "EventEngine.prepare": lambda w: Call(w.engine.prepare, {"data": w.x}),
    "EventEngine.output": lambda w: Call(w.engine.output, {"index": 0}),
    "EventEngine.state": lambda w: Call(w.engine.state, {"tensor": w.engine.layers[0].tensor}),
    "EventEngine.levels": lambda w: Call(w.engine.levels, {"layer": w.engine.layers[0]}),
    "EventEngine.report": lambda w: Call(w.engine.report, {}),
    "EventEngine.run_image": lambda w: Call(w.engine.run_image, {"x": w.x[0]}),
    "EventEngine.run_stream": lambda w: Call(w.engine.run_stream, {"stream": w.x}),
    "EventEngine.run_events": lambda w: Call(w.engine.run_events, {"events": w.events}),
    "EventEngine.run_events, options": lambda w: Call(
        w.engine.run_events, {"events": w.events}, ("step", "window", "count", "tau", "level", "other")),
    "pixel_order": lambda w: Call(events.pixel_order, {"x": w.x[0], "order": "raster"}),
    "populations": lambda w: Call(events.populations, {"model": w.model}),
    "Rule": lambda w: Call(events.Rule, {}),
    "recordings.read": lambda w: Call(recordings.read, {"path": "events.npz"}),
    "recordings.from_fields": lambda w: Call(recordings.from_fields, w.columns, ("x", "y", "p", "t")),
    "recordings.whole_columns": lambda w: Call(recordings.whole_columns, w.columns, ("x", "y", "p", "t")),
    "recordings.structured_columns": lambda w: Call(
        recordings.structured_columns, {"events": w.events, "source": "x"}, ("events",)),
    "recordings.decode_nmnist": lambda w: Call(recordings.decode_nmnist, {"data": bytes(10)}, ("data",)),
    "recordings.encode_nmnist": lambda w: Call(recordings.encode_nmnist, {"events": w.events}),
    "recordings.decode_aedat2": lambda w: Call(recordings.decode_aedat2, {"data": b"", "camera": "davis"}, ("data",)),
    "recordings.decode_aedat3": lambda w: Call(recordings.decode_aedat3, {"data": b""}, ("data",)),
    "snn.load": lambda w: Call(snn.load, {"path": "net.snn"}),
    "SpikingModel": lambda w: Call(snn.SpikingModel, {"opened": w.spiking._opened}),
    "SpikingModel.from_file": lambda w: Call(snn.SpikingModel.from_file, {"path": "net.snn"}),
    "SpikingModel.from_bytes": lambda w: Call(snn.SpikingModel.from_bytes, {"data": w.snn_data}),
    "SpikingModel.save": lambda w: Call(w.spiking.save, {"path": "out.snn"}),
    "SpikingModel.run": lambda w: Call(w.spiking.run, {"x": w.s}),
    "SpikingModel.step": lambda w: Call(w.spiking.step, {"x": w.s[0]}),
    "SpikingModel.state": lambda w: Call(w.spiking.state, {"population": "conv"}),
    "SpikingModel.scores": lambda w: Call(w.spiking.scores, {"x": w.s[None]}),
    "SpikingModel.weights": lambda w: Call(w.learner.weights, {"name": "weights"}),
    "SpikingModel.set_weights": lambda w: Call(w.learner.set_weights, {
        "name": "weights", "weights": np.ones((64, 5), np.float32)}),
    "SpikingModel.thresholds": lambda w: Call(w.learner.thresholds, {"name": "neurons"}),
    "SpikingModel.run_image": lambda w: Call(w.spiking.run_image, {
        "x": np.zeros((2, 8, 8), np.float32), "steps": 3, "coding": "rate"}),
    "SpikingModel.run_stream": lambda w: Call(w.spiking.run_stream, {"x": w.s}),
    "SpikingModel.run_events": lambda w: Call(w.spiking.run_events, {"events": w.events, "origin": (0, 0)}),
    "snn.build": lambda w: Call(snn.build, {"network": small_network()}),
    "Network": lambda w: Call(built, {}, ("populations", "projections", "dt", "simulator", "channels_first")),
    "Population": lambda w: Call(built, {}, ("name", "shape")),
    "Learning": lambda w: Call(lambda **rule: snn.build(learner(**rule)), {}, (
        "nu_pre", "nu_post", "decay_pre", "decay_post", "norm", "added", "low", "high")),
    "Feedback": lambda w: Call(lambda **rule: snn.build(taught(**rule)), {}, (
        "signal", "rate", "decay", "width", "low", "high")),
    "ImageRun": lambda w: Call(lambda moment=1, names=None: (
        w.image.when(moment), w.image.share(moment), w.image.describe(names)), {}),
    "StreamRun": lambda w: Call(lambda moment=1, names=None: (w.stream.when(moment), w.stream.verdict(names)), {}),
    "RecordingRun": lambda w: Call(lambda moment=1, names=None: (
        w.recording.when(moment), w.recording.time(moment), w.recording.answered(names)), {}),
    "StepRun": lambda w: Call(lambda moment=1, names=None: (
        w.steps.when(moment), w.steps.time(moment), w.steps.describe(names)), {}),
    "RecordingStepRun": lambda w: Call(lambda moment=1, names=None: (
        w.seen.when(moment), w.seen.events_share(moment), w.seen.describe(names)), {}),
    "calibrate": lambda w: Call(bnn.calibrate, {"model": w.model, "images": w.x}),
    "emit_c": lambda w: Call(bnn.emit_c, {"model": w.model, "folder": "c", "name": "net"}),
    "emit_nir": lambda w: Call(bnn.emit_nir, {"model": w.model, "out": "net.nir"}),
    "compile": lambda w: Call(bnn.compile, {"model": "net.onnx"}, (
        "example", "input_dtype", "require_binary", "dump_after", "dump", "labels", "preprocess", "metadata",
        *_OPTIONS)),
    "verify": lambda w: Call(bnn.verify, {
        "source": "net.onnx", "model": w.from_onnx, "data": np.zeros((2, 1, 5, 5), np.float32)}, (
        "model", "data", "batch_size", "progress", *_OPTIONS)),
    "convert": lambda w: Call(convert, {
        "model": "net.onnx", "images": np.arange(500, dtype=np.uint8).reshape(20, 1, 5, 5)}, (
        "images", "levels", "scheme", "weights_bits", "scale", "offset", "percentile", "example", "input_shape",
        "unsafe")),
    "verify_nir": lambda w: Call(bnn.verify_nir, {"nir_path": "none.nir", "model": w.model, "x": w.x}),
    "verify_snn": lambda w: Call(bnn.verify_snn, {"path": "none.nir", "model": w.spiking}),
    "snn.compile": lambda w: Call(snn.compile, {"path": "none.nir", "simulator": "norse"}),
    "snn.from_torch": lambda w: Call(snn.from_torch, {
        "module": layer(), "sample": np.ones((2, 3)), "simulator": "norse"}),
    "snn.from_nengo": lambda w: Call(snn.from_nengo, {"network": network_of_nengo()}),
}  # fmt: skip
#: Right calls that find no file, or no neurons.
MISSING = {"verify_nir", "verify_snn", "snn.compile", "snn.from_torch", "snn.from_nengo"}
ONNX = {"compile", "verify", "convert"}


def layer() -> Any:
    """A torch module, if there is torch."""
    return __import__("torch").nn.Linear(3, 2) if importlib.util.find_spec("torch") else None


def network_of_nengo() -> Any:
    """An empty one, if there is Nengo."""
    return __import__("nengo").Network(seed=0) if importlib.util.find_spec("nengo") else None


class Slow(BaseException):
    pass


@pytest.fixture
def limited() -> Iterator[None]:
    """No call takes long, or more memory than a few gigabytes: what is asked for beyond is refused."""

    def stop(*_: Any) -> None:
        raise Slow

    before, limit = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limit)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", CALLS)
def test_wrong_values(name: str, world: Any, limited: None, rng: np.random.Generator) -> None:
    if name in ONNX and not hasattr(world, "from_onnx"):
        pytest.skip("onnxruntime is not installed")
    world.engine.reset()  # what was promised of its inputs before
    call, failures = CALLS[name](world), []
    if name in MISSING:
        with pytest.raises(bnn.BnnError):
            call.run()
    elif name != "emit_nir" or importlib.util.find_spec("nir"):
        call.run()
    for argument in call.names:
        every = os.environ.get("BNN_WRONG_VALUES") == "all"
        chosen = list(VALUES) if every else rng.choice(list(VALUES), CHOSEN, False)
        for value in (*chosen, *VAST):
            try:
                signal.setitimer(signal.ITIMER_REAL, SECONDS)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call.run(**{argument: (VALUES | VAST)[value]()})
            except bnn.BnnError as error:
                if len(str(error)) < 12:
                    failures.append(f"{argument}={value}: says only {error}")
            except BaseException as error:
                failures.append(f"{argument}={value}: {type(error).__name__}: {str(error)[:100]}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    assert not failures, "\n".join(failures)


def public() -> Iterator[str]:
    """Each public function, and each method that takes an argument, as CALLS has it."""
    for module, prefix in ((bnn, ""), (runtime, ""), (events, ""), (snn, "snn."), (recordings, "recordings.")):
        names = getattr(
            module,
            "__all__",
            [
                key
                for key, v in vars(module).items()
                if getattr(v, "__module__", "") == module.__name__ and key[0] != "_"
            ],
        )
        for key in names:
            value = getattr(module, key)
            if inspect.isfunction(value):
                yield f"{prefix}{key}"
            elif inspect.isclass(value) and not issubclass(value, BaseException):
                yield from (f"{key}.{method}" for method in taking_arguments(value))
    yield from (f"Stepper.{method}" for method in taking_arguments(Stepper))


def taking_arguments(kind: type) -> Iterator[str]:
    for key, method in inspect.getmembers(kind, lambda m: inspect.isfunction(m) or inspect.ismethod(m)):
        own = [p for p in inspect.signature(method).parameters if p not in ("self", "cls")]
        if own and (key[0] != "_" or key == "__call__"):
            yield key


def test_every_public_function_is_here() -> None:
    """Records (an EventReport, a LayerCounts) are made by the package; methods of runs are called together."""
    runs = {"ImageRun", "StreamRun", "RecordingRun", "RecordingStepRun", "StepRun"}
    missing = [
        name for name in public()
        if name not in CALLS and name not in ("load", "available_kernels") and name.partition(".")[0] not in runs
    ]  # fmt: skip
    assert not missing


def test_every_documented_function_is_here() -> None:
    """What pages call by its full name."""
    root = Path(bnn.__file__).parents[1]
    named = set()
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        named |= set(re.findall(r"\bbnn\.((?:\w+\.)*\w+)\(", page.read_text(encoding="utf-8")))
    short = {name.split(".")[-1] for name in CALLS}
    assert {name for name in named if name.split(".")[-1] not in short} == set()


def test_a_batch_beyond_the_machines_memory(world: Any, limit: Limit, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is asked for: copies, results, contexts; what is in memory already is not."""
    whole = np.zeros((400, 12, 12, 1), np.float32)
    expected = world.model(whole)
    memory = [whole.nbytes - 1]
    real = os.sysconf
    numbers = {"SC_PAGE_SIZE": lambda: 1, "SC_PHYS_PAGES": lambda: memory[0]}
    monkeypatch.setattr(os, "sysconf", lambda name: numbers.get(name, lambda: real(name))())
    assert np.array_equal(world.model(whole), expected)
    for x in (np.broadcast_to(whole[:1], whole.shape), np.zeros((800, 12, 12, 1), np.float32)[::2]):
        tracemalloc.start()
        with pytest.raises(bnn.InputError, match="machine's memory, 230,399; pass fewer at a time"):
            world.model(x)
        assert tracemalloc.get_traced_memory()[1] < whole.nbytes
        tracemalloc.stop()
    memory[0] = 100
    limit("bnn.runtime.arrays._ALWAYS_THERE", 0)  # also for little, the machine is asked
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: world.model(whole), "probabilities: 16,000 bytes of results do not fit into memory"),
        (lambda: world.model.activations(whole), "bytes of results do not fit"),
        (lambda: world.stepper.peek(0, 2), "image: 1,152 bytes of results"),
        (lambda: world.spiking.run(world.s, membranes=["conv"]), "membrane of conv: 6,144 bytes of results"),
        (lambda: world.spiking.run(world.s, record=["conv"]), "conv: 192 bytes of results"),
        (lambda: world.spiking.run_stream(world.s), "outputs: 112 bytes of results"),
        (lambda: world.engine.run_image(world.x[0]), "outputs: [0-9,]+ bytes of results"),
        (lambda: world.engine.run_stream(whole), "outputs: 16,000 bytes of results"),
    ]
    for call, message in calls:
        with pytest.raises(bnn.InputError, match=message):
            call()


def test_what_is_shown() -> None:
    """A value in a message is short, whatever it is."""
    for value in (
        "x" * 1000,
        b"x" * 1000,
        [0] * 1000,
        np.zeros(1000),
        10**5000,
        {"a": "b" * 1000},
        object(),
        Strange(),
    ):
        assert len(shown(value)) < 100
    assert [shown(v) for v in ("x", 1, None, True, 1.5, np.zeros((2, 3)), [1])] == [
        "'x'", "1", "None", "True", "1.5", "ndarray of shape (2, 3)", "list"
    ]  # fmt: skip


def test_checks() -> None:
    assert check_flag(np.bool_(True), "x") is True and check_flag(False, "x") is False
    assert check_choice("a", "x", ("a", "b")) == "a" == check_text("a", "x")
    assert check_number(np.float32(1.5), "x") == 1.5 and check_count(np.int8(3), "x") == 3
    wrong: list[Callable[[], Any]] = [
        lambda: check_flag(1, "x"), lambda: check_choice(1, "x", ("a",)), lambda: check_text(1, "x"),
        lambda: check_number("1", "x"), lambda: check_count(True, "x"), lambda: check_callable(1, "x"),
        lambda: check_kind(1, "x", str, "a text"),
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises(bnn.InputTypeError, match="x: found .*, expected"):
            call()
    for call in (
        lambda: check_choice("c", "x", ("a",)),
        lambda: check_number(10**400, "x"),
        lambda: check_count(0, "x"),
    ):
        with pytest.raises(bnn.InputError, match="x: found .*, expected") as caught:
            call()
        assert not isinstance(caught.value, TypeError)
