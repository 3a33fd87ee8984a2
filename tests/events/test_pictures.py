# SPDX-License-Identifier: Apache-2.0
"""What there is to look at: the picture, and the page in a real browser."""

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
from bnn.events.page import image_page
from bnn.events.plot import save_run
from bnn.streams.recordings import from_fields
from events.spiking import random_images, random_model

DIGITS = Path(__file__).parents[2] / "examples/digits.bnn"


@pytest.fixture
def engine() -> EventEngine:
    return EventEngine(bnn.load(DIGITS))


def a_run(engine: EventEngine, seed: int, **options: Any) -> ImageRun:
    image = np.abs(random_images(np.random.default_rng(seed), engine.model, 1)[0])
    return engine.run_image(image, **{"order": "brightest", "label": 3, "trace": True, **options})


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_picture(engine: EventEngine, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"run.{ending}"
    save_run(a_run(engine, 1), path, [f"digit {k}" for k in range(10)])
    start = path.read_bytes()[:400]
    assert path.stat().st_size > 10_000 and (b"PNG" if ending == "png" else b"<?xml") in start


def test_pictures_over_time(engine: EventEngine, tmp_path: Path) -> None:
    """A stream and a recording, with a label and without, and a rule whose last step is its last event's."""
    pytest.importorskip("matplotlib")
    video = np.abs(random_images(np.random.default_rng(4), engine.model, 6))
    t = np.arange(60) * 300
    events = from_fields(t % 8, t // 7 % 8, t % 2, t)
    runs = (engine.run_stream(video, label=3), engine.run_events(events), engine.run_events(events, "surface", label=2))
    for k, run in enumerate(runs):
        save_run(run, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").stat().st_size > 10_000


def test_the_picture_says_what_ran(engine: EventEngine, tmp_path: Path) -> None:
    """As text of an .svg: a wrong answer, the notes, operations with their shares."""
    matplotlib = pytest.importorskip("matplotlib")
    image = np.abs(random_images(np.random.default_rng(5), engine.model, 1)[0]) / np.float32(3)
    first = engine.run_image(image)
    wrong = (first.answer + 1) % 10
    run = engine.run_image(image, label=wrong, trace=True)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_run(run, tmp_path / "run.svg")
    text = (tmp_path / "run.svg").read_text(encoding="utf-8")
    assert f"answer {run.answer}; right is {wrong}" in text
    assert f"operations in {run.events} runs" in text and "power of two" in text
    assert (
        f"{run.report.synops:,}" in text and f"({run.report.layers[1].synops / run.report.layers[1].dense:.0%})" in text
    )


def test_bad_pictures(engine: EventEngine, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(bnn.InputError, match="trace=True"):
        save_run(a_run(engine, 1, trace=False), tmp_path / "x.png")
    with pytest.raises(bnn.InputError, match="xyz"):
        save_run(a_run(engine, 1), tmp_path / "x.xyz")
    with pytest.raises(bnn.InputError, match="trace=True"):
        image_page(engine, a_run(engine, 1, trace=False))


def test_the_page_is_self_contained(engine: EventEngine) -> None:
    text = image_page(engine, a_run(engine, 2), ["</script><b>", *map(str, range(1, 10))])
    assert not re.search(r"""(src|href)=|@import|url\(|fetch\(|XMLHttp""", text)
    assert text.count("</script>") == 1


def output(dom: str, name: str) -> str:
    found = re.search(rf'<output id="{name}">([^<]*)</output>', dom)
    assert found is not None, f"the page shows no {name}: {dom[-2000:]}"
    return html.unescape(found[1])


def browse(page: Path, fragment: str = "") -> str:
    """The page's document after its scripts ran."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [chromium.executable(), *chromium.FLAGS, profile, "--dump-dom", f"{page.as_uri()}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_in_a_browser(engine: EventEngine, tmp_path: Path) -> None:
    """Opened at an event, the page's own script shows the answer and the spikes of that moment."""
    run = a_run(engine, 3)
    assert run.spikes is not None
    names = [f"class <{k}>" for k in range(10)]
    page = tmp_path / "page.html"
    page.write_text(image_page(engine, run, names), encoding="utf-8")
    moment = run.events // 2
    dom = browse(page, f"#event={moment}")
    assert output(dom, "event") == str(moment)
    assert output(dom, "answer") == names[run.answers[moment]]
    assert output(dom, "spikes") == str(np.count_nonzero(run.spikes["time"] <= moment))
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
    page.write_text(image_page(engine, run).replace("</body>", script), encoding="utf-8")
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
    """The first layer when so many pixels have arrived, by the synchronous way."""
    partial = np.zeros_like(run.image).reshape(-1)
    partial[run.index[:moment]] = run.image.reshape(-1)[run.index[:moment]]
    engine.step(partial.reshape(1, *run.image.shape))
    return engine.state(engine.layers[0].tensor)
