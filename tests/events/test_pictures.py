"""What there is to look at: the picture, and the page in a real browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._events_html import image_page
from bnn._events_plot import save_image_run
from bnn.events import EventEngine, ImageRun
from events.spiking import random_images

DIGITS = Path(__file__).with_name("digits.bnn")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


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
    save_image_run(a_run(engine, 1), path, [f"digit {k}" for k in range(10)])
    start = path.read_bytes()[:400]
    assert path.stat().st_size > 10_000 and (b"PNG" if ending == "png" else b"<?xml") in start


def test_bad_pictures(engine: EventEngine, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(bnn.InputError, match="trace=True"):
        save_image_run(a_run(engine, 1, trace=False), tmp_path / "x.png")
    with pytest.raises(bnn.InputError, match="xyz"):
        save_image_run(a_run(engine, 1), tmp_path / "x.xyz")
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


@pytest.mark.timeout(300)
def test_the_page_in_a_browser(engine: EventEngine, tmp_path: Path) -> None:
    """Opened at an event, the page's own script shows the answer and the spikes of that moment."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no chromium")
    run = a_run(engine, 3)
    assert run.spikes is not None
    names = [f"class <{k}>" for k in range(10)]
    page = tmp_path / "page.html"
    page.write_text(image_page(engine, run, names), encoding="utf-8")
    moment = run.events // 2
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, *FLAGS, profile, "--dump-dom", f"{page.as_uri()}#event={moment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    dom = done.stdout
    assert done.returncode == 0, done.stderr
    assert output(dom, "event") == str(moment)
    assert output(dom, "answer") == names[run.answers[moment]]
    assert output(dom, "spikes") == str(np.count_nonzero(run.spikes["time"] <= moment))
    assert output(dom, "final") == f"{run.final} ({np.floor(100 * run.final / run.events + 0.5):.0f}%)"
    firing = np.count_nonzero(engine_state_at(engine, run, moment) > 0)
    assert f"{firing:,} of 2,048 fire" in dom


def engine_state_at(engine: EventEngine, run: ImageRun, moment: int) -> Any:
    """The first layer when so many pixels have arrived, by the synchronous way."""
    partial = np.zeros_like(run.image).reshape(-1)
    partial[run.index[:moment]] = run.image.reshape(-1)[run.index[:moment]]
    engine.step(partial.reshape(1, *run.image.shape))
    return engine.state(engine.layers[0].tensor)
