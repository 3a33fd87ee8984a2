# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, for tests of pages: its debugging protocol, over a pipe, gives it what a person would."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
TIMEOUT = 120.0


def executable() -> str:
    """The browser's path.  Without one, raises SkipTest."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise unittest.SkipTest("chromium is not installed; on Debian: apt-get install chromium")
    return found


class Page:
    """One page of a browser.  Every method waits until it has happened; TimeoutError: it did not."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """A method of the protocol, https://chromedevtools.github.io/devtools-protocol/."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": number, "method": method, "params": parameters, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while (answer := self._message(end)).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _message(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._from, 1 << 16)
            if not part:
                raise AssertionError("the browser has ended")
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, url: str, ready: str) -> None:
        """Go to a page, until a JavaScript expression is true there."""
        self.call("Page.navigate", url=url)
        end = time.monotonic() + TIMEOUT
        while not self.run(ready):
            if time.monotonic() > end:
                raise TimeoutError(f"{url} is not ready: {ready}; {self.complaints()}")
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, or what its promise gives."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[Any]:
        """Exceptions nobody caught, and what the browser logged as an error."""
        return [
            event["params"]
            for event in self.events
            if event.get("method") == "Runtime.exceptionThrown"
            or (event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
        ]

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Press the mouse at the first point, in pixels of the page's window; move along the others, and let go."""
        moves = [("mousePressed", points[0]), *(("mouseMoved", p) for p in points), ("mouseReleased", points[-1])]
        for kind, (x, y) in moves:
            button = {
                "button": "left",
                "buttons": int(kind != "mouseReleased"),
                "clickCount": int(kind != "mouseMoved"),
            }
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def touch(self, points: list[tuple[float, float]]) -> None:
        """The same with a finger."""
        for i, (x, y) in enumerate(points):
            kind = "touchMove" if i else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """The window's size, in the pixels of the page."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, path: Path) -> None:
        """A PNG of all of the page."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def started(folder: Path) -> Iterator[Page]:
    """A browser with a new profile in the folder; it ends with the block.  Without one, raises SkipTest."""
    path = executable()
    (from_test, to_browser), (from_browser, to_test) = os.pipe(), os.pipe()
    # The browser reads from 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{from_test} 4>&{to_test}'
    command = ["bash", "-c", shell, path, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    log = folder / "browser.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, pass_fds=(from_test, to_test), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    os.close(from_test)
    os.close(to_test)
    try:
        yield Page(to_browser, from_browser)
    except Exception:
        print(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        raise
    finally:
        os.close(to_browser)  # it ends when nobody can write to it
        os.close(from_browser)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
