# SPDX-License-Identifier: Apache-2.0
"""Pictures, and the page in a real browser."""

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
from bnn.snn import SpikingModel, build
from bnn.snn.page import run_page
from bnn.snn.plot import save_run
from bnn.snn.rules import Emits
from snn.small import SIDE, small_network


@pytest.fixture(scope="module")
def model() -> SpikingModel:
    return build(small_network())


def a_run(model: SpikingModel, **options: Any) -> Any:
    x = np.random.default_rng(3).random((25, 2, SIDE, SIDE)) < 0.2
    return model.run_stream(x, **{"trace": True, "label": 1, **options})


def browse(page: Path, fragment: str) -> str:
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
    assert output(dom, "spikes") == str(np.count_nonzero(neurons["step"] <= moment))
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


def test_before_anything_there_is_no_answer(model: SpikingModel, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(run_page(a_run(model)), encoding="utf-8")
    dom = browse(page, "#event=0")
    assert output(dom, "answer") == "none" and output(dom, "spikes") == "0"
    assert '<span id="wrong"></span>' in dom


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
    found = re.search(r'data-seen="([^"]*)"', browse(page, "#event=3"))
    assert found is not None
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


def test_the_page_is_self_contained(model: SpikingModel) -> None:
    text = run_page(a_run(model), ["</script><b>", "1", "2", "3"])
    assert not re.search(r"""(src|href)=|@import|url\(|fetch\(|XMLHttp""", text)
    assert text.count("</script>") == 1


def test_what_a_picture_says(model: SpikingModel, tmp_path: Path) -> None:
    """As text of an .svg: the answer, moments, operations, what is not drawn."""
    matplotlib = pytest.importorskip("matplotlib")
    run = a_run(model)
    wrong = (run.answer + 1) % 4
    run = a_run(model, label=wrong)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_run(run, tmp_path / "run.svg")
    text = (tmp_path / "run.svg").read_text(encoding="utf-8")
    for part in (
        f"answer {run.answer}; right is {wrong}", f"{run.report.synops:,}", f"{run.report.updates:,}",
        "others in grey)", "not drawn: pool, which sends real values", "milliseconds (a step is 1 ms)",
        f"final {run.when(run.final)}",
    ):  # fmt: skip
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


def test_pictures_of_all_runs(model: SpikingModel, tmp_path: Path) -> None:
    """Silent, without a trace, without dt, of an image, of real values over time."""
    pytest.importorskip("matplotlib")
    values = build(small_network(emits=Emits.VALUES, dt=0))
    x = np.random.default_rng(1).random((6, 2, SIDE, SIDE)).astype(np.float32)
    runs = (
        model.run_stream(np.zeros((4, 2, SIDE, SIDE), bool), label=2, trace=True), a_run(model, trace=False),
        values.run_image(x[0], 5, trace=True), values.run_stream(x, trace=True),
    )  # fmt: skip
    for k, run in enumerate(runs):
        save_run(run, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").stat().st_size > 10_000
    assert "real values, which are not drawn" in run_page(runs[3]) and "the same in every step" in run_page(runs[2])


def test_bad_pages(model: SpikingModel, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(bnn.InputError, match="trace=True"):
        run_page(a_run(model, trace=False))
    run = a_run(model)
    with pytest.raises(bnn.InputError, match="found 30,000 steps"):
        run_page(replace(run, outputs=np.zeros((30_001, 4), np.float32)))
    with pytest.raises(bnn.InputError, match="xyz"):
        save_run(run, tmp_path / "x.xyz")
    for call in (lambda: save_run(run, tmp_path / "x.png", ["a"]), lambda: replace(run, label=3).describe(["a"])):
        with pytest.raises(bnn.InputError, match="names of classes: found 1, expected one for each class, up to class"):
            call()
