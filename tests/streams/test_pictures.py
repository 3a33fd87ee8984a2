# SPDX-License-Identifier: Apache-2.0
"""What there is to look at, of images by events and of networks over time: the picture, and the page in a browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
import chromium
from bnn.events import EventEngine, ImageRun
from bnn.snn import SpikingModel, build
from bnn.snn.rules import Emits
from bnn.streams.page import run_page
from bnn.streams.plot import save_run
from bnn.streams.recordings import from_fields
from events.spiking import random_images, random_model
from seed import some
from snn.small import SIDE, small_network

DIGITS = Path(__file__).parents[2] / "examples/digits.bnn"


@pytest.fixture
def engine() -> EventEngine:
    return EventEngine(bnn.load(DIGITS))


def image_run(engine: EventEngine, seed: int, **options: Any) -> ImageRun:
    image = np.abs(random_images(np.random.default_rng(seed), engine.model, 1)[0])
    return engine.run_image(image, **{"order": "brightest", "label": 3, "trace": True, **options})


@pytest.fixture(scope="module")
def model() -> SpikingModel:
    return build(small_network())


def a_run(model: SpikingModel, **options: Any) -> Any:
    x = np.random.default_rng(3).random((25, 2, SIDE, SIDE)) < 0.2
    return model.run_stream(x, **{"trace": True, "label": 1, **options})


def browse(page: Path, fragment: str = "") -> str:
    """The page's document after its scripts ran."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [chromium.executable(), *chromium.FLAGS, profile, "--dump-dom", f"{page.as_uri()}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def output(dom: str, name: str) -> str:
    found = re.search(rf'<output id="{name}">([^<]*)</output>', dom)
    assert found is not None, f"the page shows no {name}: {dom[-2000:]}"
    return html.unescape(found[1])


SEEN = """<script>
    const [paper, ink, up] = ["--card", "--ink", "--up"].map(name => parse(colour(name)));
    const pixels = [...$("image").getContext("2d").getImageData(0, 0, $("image").width, $("image").height).data];
    document.body.dataset.seen = JSON.stringify({pixels, paper, ink, up});
    </script></body>"""


def test_the_page_in_a_browser(model: SpikingModel, tmp_path: Path) -> None:
    """Opened after a step, the page's own script shows the answer, the spikes and the pixels of that moment."""
    run = a_run(model)
    names = ["<0>", "</script><b>", "two", "three"]
    page = tmp_path / "page.html"
    page.write_text(run_page(run, names).replace("</body>", SEEN), encoding="utf-8")
    moment = 14
    dom = browse(page, f"#event={moment}")
    assert output(dom, "event") == str(moment) and ", 14.00 ms" in dom
    assert output(dom, "answer") == names[run.answers[moment]]
    neurons = run.spikes[run.spikes["population"] > 0]
    assert output(dom, "spikes") == f"{np.count_nonzero(neurons['step'] <= moment):,}"
    assert output(dom, "final") == f"{run.final} ({np.floor(100 * run.final / run.moments + 0.5):.0f}%)"
    now = np.count_nonzero((neurons["population"] == 1) & (neurons["step"] == moment))
    assert now and f"{now} of {4 * SIDE * SIDE} fire" in dom
    assert "takes it back" in dom and re.search(r'id="back2" hidden', dom)
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    own = run.spikes[run.spikes["population"] == 0]
    counts = np.bincount(own["neuron"][own["step"] <= moment], minlength=SIDE * SIDE * 2).reshape(-1, 2).sum(axis=1)
    fresh = np.bincount(own["neuron"][own["step"] == moment], minlength=SIDE * SIDE * 2).reshape(-1, 2).sum(axis=1)
    grey = 0.85 * counts / counts.max()
    mix = np.where(fresh, np.minimum(0.35 + fresh / 2, 1), 0)[:, None]
    paper, ink, up = (np.array(seen[k]) for k in ("paper", "ink", "up"))
    want = (paper + (ink - paper) * grey[:, None]) * (1 - mix) + up * mix
    assert np.abs(np.reshape(seen["pixels"], (-1, 4))[:, :3] - want).max() <= 1
    dom = browse(page, "#event=0")
    assert output(dom, "answer") == "none" and output(dom, "spikes") == "0" and '<span id="wrong"></span>' in dom


def test_the_page_opens_at_the_first_spike(model: SpikingModel, tmp_path: Path) -> None:
    x = np.random.default_rng(3).random((25, 2, SIDE, SIDE)) < 0.2
    x[:9] = False
    run = model.run_stream(x, trace=True)
    first = run.spikes["step"][run.spikes["population"] > 0].min()
    page = tmp_path / "page.html"
    page.write_text(run_page(run).replace("if (!wanted) play(true);", ""), encoding="utf-8")
    assert first > 9 and output(browse(page), "event") == str(first)


def test_the_size_of_a_page(model: SpikingModel, tmp_path: Path) -> None:
    """Half a million spikes are less than 2 MB, all of them are there, and a longer run is refused."""
    run = model.run_stream(np.random.default_rng(3).random((2100, 2, SIDE, SIDE)) < 0.5, trace=True)
    assert len(run.spikes) > 500_000
    text = run_page(run)
    assert len(text) < 2_000_000
    page = tmp_path / "page.html"
    page.write_text(text, encoding="utf-8")
    moment = 2083
    neurons = run.spikes[run.spikes["population"] > 0]
    seen = output(browse(page, f"#event={moment}"), "spikes")
    assert seen == f"{np.count_nonzero(neurons['step'] <= moment):,}"
    for factor in (3, 4):  # too long when it is written, and before
        spikes = np.tile(run.spikes, factor)
        spikes["step"] += np.arange(factor).repeat(len(run.spikes)).astype(np.uint32)
        with pytest.raises(bnn.InputError, match=r"more than 2 MB, of [0-9,]+ spikes; show fewer"):
            run_page(replace(run, spikes=spikes))


DRAWN = """<script>
    const drawn = {texts: [], right: 0}, {fillText, fillRect} = CanvasRenderingContext2D.prototype;
    Object.assign(CanvasRenderingContext2D.prototype, {
      fillText(text, ...at) { drawn.texts.push(text); fillText.call(this, text, ...at); },
      fillRect(x, y, w, h) { drawn.right = Math.max(drawn.right, x + w); fillRect.call(this, x, y, w, h); }
    });
    </script><script>"""
FITS = """<script>
    drawn.width = $("timeline").clientWidth;
    document.body.style.width = "420px";
    drawn.fits = [...document.querySelectorAll("main, .card")].every(x => x.scrollWidth <= x.clientWidth);
    document.body.dataset.seen = JSON.stringify(drawn);
    </script></body>"""


def test_numbers_and_widths_of_the_page(model: SpikingModel, tmp_path: Path) -> None:
    """Counts are whole; no bar is cut, however wide; a narrow page scrolls nothing but its table."""
    run = model.run_stream(np.ones((3, 2, SIDE, SIDE), bool), trace=True)
    page = tmp_path / "page.html"
    text = run_page(run).replace("<script>", DRAWN, 1).replace("</body>", FITS)
    page.write_text(text, encoding="utf-8")
    dom = browse(page, "#event=3")
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None and f"<small>{run.outputs[3].max():.0f}</small>" in dom
    seen = json.loads(html.unescape(found[1]))
    assert f"{run.outputs.max():.0f}" in seen["texts"] and not [x for x in seen["texts"] if x.endswith(".0")]
    assert 0.8 * seen["width"] < seen["right"] <= seen["width"] and seen["fits"]


def test_a_silent_output(model: SpikingModel, tmp_path: Path) -> None:
    """Neither a final moment nor a scale of numbers next to 0."""
    matplotlib = pytest.importorskip("matplotlib")
    run = model.run_stream(np.zeros((4, 2, SIDE, SIDE), bool), label=2, trace=True)
    assert run.describe() == "4 steps: answer none; right is 2; never right"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_run(run, tmp_path / "run.svg")
    texts = re.findall(r">([^<]+)</text>", (tmp_path / "run.svg").read_text(encoding="utf-8"))
    assert "4 steps: answer none; right is 2; 0 spikes" in texts
    assert not [x for x in texts if x.startswith("final") or "e\u2212" in x or x == "0.5"], texts
    page = tmp_path / "page.html"
    page.write_text(run_page(run), encoding="utf-8")
    dom = browse(page, "#event=4")
    assert output(dom, "final") == "–" and re.search(r'id="toFinal" disabled', dom)


def test_an_image_in_a_browser(engine: EventEngine, tmp_path: Path) -> None:
    """Opened at an event, the page's own script shows the answer and the spikes of that moment."""
    run = image_run(engine, 3)
    assert run.spikes is not None
    names = [f"class <{k}>" for k in range(10)]
    page = tmp_path / "page.html"
    page.write_text(run_page(run, names), encoding="utf-8")
    moment = run.events // 2
    dom = browse(page, f"#event={moment}")
    assert output(dom, "event") == str(moment)
    assert output(dom, "answer") == names[run.answers[moment]]
    assert output(dom, "spikes") == f"{np.count_nonzero(run.spikes['time'] <= moment):,}"
    assert output(dom, "final") == f"{run.final} ({np.floor(100 * run.final / run.events + 0.5):.0f}%)"
    firing = np.count_nonzero(engine_state_at(engine, run, moment) > 0)
    assert f"{firing:,} of 2,048 fire" in dom
    wrong = "" if run.answers[moment] == 3 else "; right is class &lt;3&gt;"
    assert f'<span id="wrong">{wrong}</span>' in dom and "✓ class &lt;3&gt;" in dom
    assert f'aria-valuemin="0" aria-valuemax="{run.events}"' in dom and f'aria-valuenow="{moment}"' in dom
    assert "encoder: incremental" in dom


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("factor", "low"), [(255, 0), (2, -1)])
def test_the_page_draws_what_arrived(tmp_path: Path, channels: int, factor: int, low: int) -> None:
    """Pixels of the canvas: bytes and negative numbers between the least and the greatest, three channels in colour."""
    rng = np.random.default_rng(7)
    model = random_model(rng)
    while model.input_shapes[0][2] != channels:
        model = random_model(rng)
    engine = EventEngine(model)
    run = engine.run_image(np.abs(random_images(rng, model, 1)[0]), trace=True)
    run = replace(run, image=run.image * np.float32(factor) + np.float32(low))
    script = """<script>
        const pixels = [...small.getContext("2d").getImageData(0, 0, run.width, run.height).data];
        const [paper, ink] = ["--card", "--ink"].map(name => parse(colour(name)));
        document.body.dataset.seen = JSON.stringify({pixels, paper, ink});
        </script></body>"""
    page = tmp_path / "page.html"
    page.write_text(run_page(run).replace("</body>", script), encoding="utf-8")
    moment = run.events - 2
    dom = browse(page, f"#event={moment}")
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    now = np.full(run.image.size, run.blank)
    now[run.index[:moment]] = run.image.reshape(-1)[run.index[:moment]]
    arrived = run.image.reshape(-1)[run.index]
    least, most = min(arrived.min(), run.blank), max(arrived.max(), run.blank)
    level = ((now - least) / (most - least)).reshape(*run.image.shape[:2], channels)
    paper, ink = np.array(seen["paper"]), np.array(seen["ink"])
    want = 255 * level if channels == 3 else paper + (ink - paper) * level
    assert np.abs(np.reshape(seen["pixels"], (*level.shape[:2], 4))[..., :3] - want).max() <= 1
    assert ("input value" if channels == 3 else "pixel") in dom


def engine_state_at(engine: EventEngine, run: ImageRun, moment: int) -> Any:
    """What the first layer computes from the image that this many pixels make."""
    partial = np.zeros_like(run.image).reshape(-1)
    partial[run.index[:moment]] = run.image.reshape(-1)[run.index[:moment]]
    engine.step(partial.reshape(1, *run.image.shape))
    return engine.state(engine.layers[0].tensor)


def test_pages_are_self_contained(engine: EventEngine, model: SpikingModel) -> None:
    names = ["</script><b>", *map(str, range(1, 10))]
    for text in (run_page(image_run(engine, 2), names), run_page(a_run(model), names)):
        assert not re.search(r"""(src|href)=|@import|url\(|fetch\(|XMLHttp""", text)
        assert text.count("</script>") == 1


def test_what_a_picture_says(engine: EventEngine, model: SpikingModel, tmp_path: Path) -> None:
    """As text of an .svg: a wrong answer, moments, operations with their shares, notes, what is not drawn."""
    matplotlib = pytest.importorskip("matplotlib")
    image = np.abs(random_images(np.random.default_rng(5), engine.model, 1)[0]) / np.float32(3)
    by_events = engine.run_image(image, label=(engine.run_image(image).answer + 1) % 10, trace=True)
    over_time = a_run(model, label=(a_run(model).answer + 1) % 4)
    layer = by_events.report.layers[1]
    said = (
        (by_events, f"{layer.synops / layer.dense:.1%} of dense", f"operations in {by_events.events} runs",
         "power of two", f"({layer.synops / layer.dense:.0%})",
         "takes its spike back"),
        (over_time, f"{over_time.report.updates:,}", "others in grey)", "not drawn: pool, which sends real values",
         "milliseconds (a step is 1 ms)", "arrives"),
    )  # fmt: skip
    for run, *parts in said:
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            save_run(run, tmp_path / "run.svg")
        text = (tmp_path / "run.svg").read_text(encoding="utf-8")
        common = (
            f"answer {run.answer}; right is {run.label}",
            f"{run.report.synops:,}",
            f"final {run.when(run.final)}",
        )
        for part in (*parts, *common):
            assert part in text, part


def test_the_dollars_of_a_name_are_no_formula(model: SpikingModel, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    network = small_network()
    network.populations[1].name = "$conv_1$"
    run = build(network).run_stream(np.ones((9, 2, SIDE, SIDE), bool), trace=True)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_run(run, tmp_path / "run.svg", ["$a_{"] * 4)
    text = re.sub("<!--.*?-->", "", (tmp_path / "run.svg").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "$conv_1$" in text and "answer “$a_{”" in text


@pytest.mark.drawn
def test_pictures_of_all_runs(engine: EventEngine, model: SpikingModel, tmp_path: Path) -> None:
    """By events: streams and recordings, one that ends with its last event.  Over time: silent, long, without a trace,
    without dt, of an image, of real values."""
    pytest.importorskip("matplotlib")
    values = build(small_network(emits=Emits.VALUES, dt=0))
    x = np.random.default_rng(1).random((6, 2, SIDE, SIDE)).astype(np.float32)
    video = np.abs(random_images(np.random.default_rng(4), engine.model, 6))
    t = np.arange(60) * 300
    events = from_fields(t % 8, t // 7 % 8, t % 2, t)
    still, real = values.run_image(x[0], 5, trace=True), values.run_stream(x, trace=True)
    nothing = replace(still, report=replace(still.report, layers=still.report.layers[:1]))  # but an image, to draw
    runs = (
        engine.run_stream(video, label=3), engine.run_events(events), engine.run_events(events, "surface", label=2),
        model.run_stream(np.zeros((2001, 2, SIDE, SIDE), bool), label=2, trace=True), a_run(model, trace=False),
        model.run_events(events, label=1, trace=True), still, real, nothing,
    )  # fmt: skip
    for run in some(runs):
        save_run(run, tmp_path / "run.png", [f"digit {k}" for k in range(10)])
        assert (tmp_path / "run.png").stat().st_size > 10_000
    assert "real values, which are not drawn" in run_page(real) and "the same in every step" in run_page(still)


def test_bad_pictures_and_pages(engine: EventEngine, model: SpikingModel, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for call in (
        lambda: save_run(image_run(engine, 1, trace=False), tmp_path / "x.png"),
        lambda: run_page(image_run(engine, 1, trace=False)), lambda: run_page(a_run(model, trace=False)),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match="trace=True"):
            call()
    run = a_run(model)
    with pytest.raises(bnn.InputError, match="found 30,000 steps"):
        run_page(replace(run, outputs=np.zeros((30_001, 4), np.float32)))
    with pytest.raises(bnn.InputError, match="xyz"):
        save_run(run, tmp_path / "x.xyz")
    for wrong in (lambda: save_run(run, tmp_path / "x.png", ["a"]), lambda: replace(run, label=3).describe(["a"])):
        with pytest.raises(bnn.InputError, match="names of classes: found 1, expected one for each class, up to class"):
            wrong()
