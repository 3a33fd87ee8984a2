# SPDX-License-Identifier: Apache-2.0
"""bnn snn run and inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.snn import build, load
from bnn.snn.network import Network
from bnn.snn.rules import Emits, Reset
from bnn.streams.recordings import encode_nmnist, from_fields
from snn.small import CLASSES, SIDE, population, small_network

NAMES = ("apple", "<b>", "cherry", "date")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Networks, and everything that a command reads."""
    rng = np.random.default_rng(1)
    build(small_network()).save(tmp_path / "net.snn")
    build(small_network(dt=0)).save(tmp_path / "nodt.snn")
    build(small_network(emits=Emits.VALUES)).save(tmp_path / "values.snn")
    x = rng.random((20, 3, 2, SIDE, SIDE)) < 0.2
    np.save(tmp_path / "x.npy", x.astype(np.uint8))
    np.save(tmp_path / "one.npy", x[:, 1])
    np.save(tmp_path / "y.npy", np.array([0, 1, 3]))
    np.save(tmp_path / "images.npy", rng.random((3, 2, SIDE, SIDE)).astype(np.float32))
    np.save(tmp_path / "bytes.npy", rng.integers(0, 256, (3, 2, SIDE, SIDE), np.uint8))
    np.save(tmp_path / "nan.npy", np.full((5, 2, SIDE, SIDE), np.nan, np.float32))
    np.save(tmp_path / "events.npy", events())
    large = events()
    large["x"] *= 2
    np.save(tmp_path / "large.npy", large)
    np.savez(tmp_path / "both.npz", inputs=x, labels=np.array([0, 1, 3]))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return tmp_path


def events() -> Array:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, SIDE, (2, 400))
    return from_fields(x, y, rng.integers(0, 2, 400), np.sort(rng.integers(0, 30_000, 400)))


def test_inspect(call: Any, folder: Path) -> None:
    done = call("snn", "inspect", folder / "net.snn")
    assert done.status == 0
    for text in (
        "rules of snntorch; a step is 1 ms", "Arrays, NCHW", "input input: (steps, 2, 8, 8)",
        "output output: (steps, 4)", "input       8x8x2    input",
        "decay, >, reset late_subtract",
        "relay, values",
        "v = beta * v + x", "3x3 kernel, padding 1x1", "2x2 kernel, stride 2x2, 4 groups", "1 step", "324 neurons",
    ):  # fmt: skip
        assert text in done.out, text
    record = call("snn", "inspect", folder / "net.snn", "--json").json
    model = load(folder / "net.snn")
    assert (record["simulator"], record["bytes"], record["dt"]) == ("snntorch", model.nbytes, 1e-3)
    assert record["inputs"] == [{"name": "input", "shape": [2, SIDE, SIDE]}]
    assert [p["rule"] for p in record["populations"]] == [None, "decay", "relay", "decay"]
    assert [p["comparison"] for p in record["populations"][1:]] == [">", None, ">"]
    assert [q["synapses"] for q in record["projections"]] == list(model.synapses)
    assert (record["projections"][0]["padding"], record["projections"][3]["delay"]) == ([1, 1], 1)
    assert "does not say how long a step is" in call("snn", "inspect", folder / "nodt.snn").out


def test_one_sample(call: Any, folder: Path) -> None:
    model = load(folder / "net.snn")
    run = model.run_stream(np.load(folder / "one.npy"), label=2)
    done = call("snn", "run", folder / "net.snn", "--data", folder / "one.npy", "--label", 2)
    assert done.status == 0 and done.out.startswith(str(run)) and str(run.report) in done.out
    named = call("snn", "run", folder / "net.snn", "--data", folder / "one.npy", "--labels", folder / "names.txt")
    assert f"answer “{NAMES[run.answer]}”" in named.out
    record = call("snn", "run", folder / "net.snn", "--data", folder / "one.npy", "--label", 2, "--json").json
    (sample,) = record["samples"]
    assert sample["answers"] == run.answers.tolist() and sample["outputs"] == run.outputs.tolist()
    assert sample["first_correct"] == run.first_correct and record["report"]["synops"] == run.report.synops


def test_several_samples(call: Any, folder: Path) -> None:
    model, x = load(folder / "net.snn"), np.load(folder / "x.npy").swapaxes(0, 1)
    runs = [model.run_stream(sample) for sample in x]
    arguments = ("snn", "run", folder / "net.snn", "--data", folder / "x.npy", "--targets", folder / "y.npy")
    done = call(*arguments)
    right = sum(run.answer == y for run, y in zip(runs, (0, 1, 3), strict=True))
    assert f"{right} of 3 right" in done.out and "3 samples, 60 steps of 1 ms" in done.out
    shown = call(*arguments, "--rows", 2).out
    assert "\n     1  " in shown and "\n     2  " not in shown and "\n... and 1 more: --json or --rows\n\n" in shown
    assert "\n     2  " in done.out and shown.partition("\n\n")[2] == done.out.partition("\n\n")[2]
    record = call(*arguments, "--json").json
    assert [s["answer"] for s in record["samples"]] == [run.answer for run in runs]
    assert (record["right"], record["labelled"]) == (right, 3)
    assert record["report"]["synops"] == sum(run.report.synops for run in runs)
    both = ("--data", folder / "both.npz", "--targets", folder / "both.npz", "--json")
    assert call("snn", "run", folder / "net.snn", *both).json == record
    second = call(*arguments, "--sample", 1, "--json").json
    assert second["samples"][0]["answer"] == runs[1].answer and second["samples"][0]["label"] == 1
    stream = call("snn", "run", folder / "net.snn", "--data", folder / "x.npy", "--stream", "--json").json
    model.reset()
    kept = [model.run_stream(sample, reset=False) for sample in x]
    assert [s["outputs"] for s in stream["samples"]] == [run.outputs.tolist() for run in kept]
    assert stream["samples"][0]["outputs"] == runs[0].outputs.tolist() != stream["samples"][1]["outputs"]


def test_silent_samples(call: Any, folder: Path) -> None:
    x = np.load(folder / "x.npy")
    arguments = ("snn", "run", folder / "net.snn", "--data", folder / "x.npy")
    one = call(*arguments, "--sample", 0, "--json").json["samples"][0]["final"]
    x[:, 1:] = 0
    np.save(folder / "x.npy", x)
    text = call(*arguments).out
    assert text.count("never") == 2 and f"final after {one:.1f} steps on average" in text
    np.save(folder / "x.npy", 0 * x)
    text = call(*arguments).out
    assert text.count("never") == 3 and "the output sent nothing" in text and "final after" not in text


@pytest.mark.parametrize("coding", ["rate", "latency"])
def test_images(call: Any, folder: Path, coding: str) -> None:
    model, images = load(folder / "net.snn"), np.load(folder / "images.npy")
    seed = ("--seed", 5) if coding == "rate" else ()
    record = call(
        "snn", "run", folder / "net.snn", "--data", folder / "images.npy", "--coding", coding, "--steps", 15, *seed,
        "--json",
    ).json  # fmt: skip
    for i, (sample, image) in enumerate(zip(record["samples"], images, strict=True)):
        run = model.run_image(image, 15, coding=coding, seed=5 + i)
        assert sample["outputs"] == run.outputs.tolist()
    scaled = ("--data", folder / "bytes.npy", "--scale", 255, "--coding", coding, "--steps", 15, "--sample", 2)
    record = call("snn", "run", folder / "net.snn", *scaled, *seed, "--json").json
    image = np.load(folder / "bytes.npy")[2] / np.float32(255)
    assert record["samples"][0]["outputs"] == model.run_image(image, 15, coding=coding, seed=7).outputs.tolist()


def test_a_constant_image(call: Any, folder: Path) -> None:
    arguments = ("--data", folder / "images.npy", "--coding", "constant", "--steps", 9, "--json")
    record = call("snn", "run", folder / "values.snn", *arguments).json
    model = load(folder / "values.snn")
    expected = model.run(np.repeat(np.load(folder / "images.npy")[:1], 9, axis=0)).scores
    assert record["samples"][0]["outputs"][-1] == expected.tolist()


def test_a_recording(call: Any, folder: Path) -> None:
    run = load(folder / "net.snn").run_events(events(), label=1)
    arguments = ("snn", "run", folder / "net.snn", "--recording", folder / "events.npy", "--label", 1)
    done = call(*arguments)
    assert done.status == 0 and done.out.startswith(str(run))
    record = call(*arguments, "--json").json["samples"][0]
    assert (record["events"], record["steps"]) == (400, run.moments) and record["step_seconds"] == 1e-3
    assert call("snn", "run", folder / "net.snn", "--recording", folder / "large.npy", "--origin", 0, 0).status == 0
    (folder / "events.raw").write_bytes(encode_nmnist(events()))
    raw = ("snn", "run", folder / "net.snn", "--recording", folder / "events.raw", "--format", "nmnist", "--label", 1)
    assert call(*raw).out == done.out
    slow = call("snn", "run", folder / "nodt.snn", "--recording", folder / "events.npy", "--dt", 0.01, "--json").json
    assert slow["samples"][0]["steps"] == 3


def test_until_the_first_spike(call: Any, folder: Path) -> None:
    """Each sample ends by itself, and the report counts the steps that were run."""
    model, x = load(folder / "net.snn"), np.load(folder / "x.npy")
    run = model.run(x, until="first-spike")
    arguments = ("snn", "run", folder / "net.snn", "--until", "first-spike")
    record = call(*arguments, "--data", folder / "x.npy", "--json").json
    assert [s["answer"] for s in record["samples"]] == run.answers.tolist()
    assert [s["steps"] for s in record["samples"]] == [s["final"] for s in record["samples"]] == run.taken.tolist()
    assert (record["report"]["synops"], record["report"]["steps"]) == (run.synops, run.taken.sum())
    text = call(*arguments, "--data", folder / "x.npy").out
    assert f"final after {run.taken.mean():.1f} steps on average" in text and run.taken.max() < len(x)
    image = ("--data", folder / "images.npy", "--sample", 0, "--coding", "latency", "--steps", 15)
    assert ", 15 steps, until the first spike: answer" in call(*arguments, *image).out
    found = call(*arguments, "--recording", folder / "events.npy", "--label", 1, "--json").json["samples"][0]
    assert found["steps"] == model.run_events(events(), until="first-spike").moments < 30


def test_pictures_and_pages(call: Any, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ("--labels", folder / "names.txt")
    for k, arguments in enumerate((
        ("net.snn", "--data", folder / "x.npy"), ("net.snn", "--recording", folder / "events.npy", "--label", 1),
        ("values.snn", "--data", folder / "images.npy", "--coding", "constant", "--steps", 9),
        ("nodt.snn", "--data", folder / "images.npy", "--coding", "rate", "--steps", 9),
    )):  # fmt: skip
        plot, html = folder / f"{k}.png", folder / f"{k}.html"
        net, *rest = arguments
        done = call("snn", "run", folder / str(net), *rest, *names, "--plot", plot, "--html", html)
        assert done.status == 0, done.err
        assert done.out.endswith(f"wrote {plot}\nwrote {html}\n")
        assert plot.stat().st_size > 10_000 and html.read_text(encoding="utf-8").count("</script>") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("net.snn", "expected --data or --recording, found neither"),
        ("net.snn x.npy", "unexpected extra argument (x.npy); give what the input sends with --data FILE"),
        ("net.snn --data x.npy --recording events.npy", "not both"),
        ("net.snn --data images.npy --coding rate", "--coding rate needs --steps"),
        ("net.snn --data x.npy --steps 5", "--steps is for images; add --coding"),
        ("net.snn --data x.npy --scale 255", "--scale is for images; add --coding"),
        ("net.snn --data x.npy --dt 0.1", "--dt is for --recording"),
        ("net.snn --data x.npy --seed 1", "--seed is for --coding rate"),
        ("net.snn --recording events.npy --coding rate --steps 3", "--coding is for --data"),
        ("net.snn --recording events.npy --targets y.npy", "--targets is for --data"),
        ("net.snn --recording events.npy --rows 2", "--rows is for --data"),
        ("net.snn --data x.npy --label 1 --targets y.npy", "--label and --targets both"),
        ("net.snn --data x.npy --label 1", "--label 1: found 3 samples; give their classes with --targets"),
        ("net.snn --data one.npy --label 4", "--label 4: the model has 4 classes; give a number, 0 to 3"),
        ("net.snn --data one.npy --stream", "--stream: found one sample"),
        ("net.snn --data x.npy --stream --sample 1", "--stream: found one sample"),
        ("net.snn --data x.npy --sample 3", "--sample 3: found 3 samples, 0 to 2"),
        ("net.snn --data one.npy --targets y.npy", "found 3 classes, expected one for each of 1 samples"),
        ("net.snn --data x.npy --targets x.npy", "expected whole numbers, one per sample"),
        ("net.snn --data missing.npy", "missing.npy: cannot be opened: No such file"),
        ("net.snn --data images.npy", "expected spikes, 0 or 1"),
        ("net.snn --data images.npy", "--coding and --steps"),
        ("net.snn --data y.npy", "input 'input': found shape (3,), expected (steps, 2, 8, 8) or (steps, samples,"),
        ("net.snn --data nan.npy", "found nan at (0, 0, 0, 0), expected spikes"),
        ("values.snn --data nan.npy", "640 are not finite: correct the data"),
        ("net.snn --data names.txt", "expected .npy or .npz; for image files add --coding and --steps"),
        ("net.snn --data bytes.npy --coding rate --steps 3", "give --scale DIVISOR"),
        ("net.snn --data bytes.npy --scale 1 --coding rate --steps 3", "expected 0 to 1; divide them"),
        ("net.snn --data images.npy --coding constant --steps 3", "takes whole numbers from 0 on; use coding 'rate'"),
        ("net.snn --data x.npy --coding rate --steps 3 --scale 1", "found shape (20, 3, 2, 8, 8)"),
        ("nodt.snn --recording events.npy", "does not say how long a step is"),
        ("net.snn --recording events.npy --origin 50 50", "none of the 400 events lies on the network's 8 x 8 pixels"),
        ("net.snn --recording large.npy", "larger than the network's 8 x 8 pixels"),
        ("net.snn --recording x.npy", "expected a structured array"),
        ("net.snn --data x.npy --labels y.npy", "not a UTF-8 text file"),
        ("x.npy --data x.npy", "magic|signature|not a"),
        ("net.snn --data x.npy --plot x.npy", "would overwrite the input"),
        ("net.snn --data x.npy --plot a.txt", "--plot a.txt: expected a name ending in .png"),
    ],
)  # fmt: skip
def test_bad_usage(call: Any, folder: Path, arguments: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = call("snn", "run", *arguments.split())
    assert done.status == 2 and any(part in done.err for part in message.split("|")), done.err


def test_the_sample_with_a_wrong_value_is_named(call: Any, folder: Path) -> None:
    x = np.load(folder / "x.npy")
    x[4, 2, 1, 0, 3] = 7
    np.save(folder / "wrong.npy", x)
    for more in ((), ("--sample", 2)):
        done = call("snn", "run", folder / "net.snn", "--data", folder / "wrong.npy", *more)
        assert done.status == 2 and "sample 2: input input: found 7 at (4, 1, 0, 3), expected spikes" in done.err


def test_a_network_without_input(call: Any, folder: Path) -> None:
    neurons = population("out", (2,), "integrate", Reset.SUBTRACT, output=True)
    build(Network([neurons], [])).save(folder / "none.snn")
    for file in ("x.npy", "both.npz"):
        done = call("snn", "run", folder / "none.snn", "--data", folder / file)
        assert done.status == 2 and f"{file}: the network has no input, expected one" in done.err


def test_classes_of_the_network(call: Any, folder: Path) -> None:
    (folder / "names.txt").write_text("one\ntwo")
    done = call("snn", "run", folder / "net.snn", "--data", folder / "one.npy", "--labels", folder / "names.txt")
    assert done.status == 2 and f"found 2 labels, the model has {CLASSES} classes" in done.err
