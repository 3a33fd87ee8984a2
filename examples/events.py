# SPDX-License-Identifier: Apache-2.0
"""Run a network event by event: a picture that arrives pixel by pixel, one that moves, and what a camera sees of it.

The network's bits are spikes; only what changes is computed, and at rest the result is that of `model(x)`, bit for bit.

Install: pip install -e .
"""

from pathlib import Path

import numpy as np

import bnn

folder = Path(__file__).parent
model = bnn.load(folder / "digits.bnn")
seven = np.loadtxt(folder / "seven.txt", dtype=np.float32).reshape(8, 8, 1)  # pixels from 0 to 1
engine = bnn.events.EventEngine(model)

run = engine.run_image(seven, order="brightest", label=7)
assert np.array_equal(run.outputs[-1], model(seven[None])[0]) and run.answer == 7
print(f"a picture: its class is final after {run.final} of {len(run.outputs) - 1} pixels")

video = np.stack([np.roll(seven, shift, axis=1) for shift in range(8)])  # a pixel a frame, round the edge
stream = engine.run_stream(video)
assert np.array_equal(stream.outputs, model(video))
dense = sum(layer.dense for layer in stream.report.layers)
print(f"a stream: {stream.synops.mean():,.0f} additions a frame, {dense:,} in a network that computes everything")

# An event camera, 16 x 16: the digit's brighter pixels report a change, again and again, each two by two pixels large.
rng = np.random.default_rng(0)
y, x = rng.permutation(np.repeat(np.argwhere(seven[:, :, 0] > 0.3), 40, axis=0)).T * 2
events = np.zeros(len(x), bnn.streams.recordings.EVENT)  # x, y, p, t
events["x"], events["y"] = x + rng.integers(0, 2, len(x)), y + rng.integers(0, 2, len(x))
events["t"] = np.arange(len(x)) * 50  # microseconds
seen = engine.run_events(events, "window", window=20_000, shrink=2, label=7)
bits = np.float32(seven > 0.3)  # once each pixel had an event in the last 20 milliseconds
assert np.array_equal(seen.outputs[seen.moments], model(bits[None])[0]) and seen.answer == 7
print(f"a recording of {len(events):,} events: its class is final {seen.when(seen.final)}")
