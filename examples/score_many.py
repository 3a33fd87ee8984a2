# SPDX-License-Identifier: Apache-2.0
"""Score a folder of pictures by `bnn score`, from Python: it is interrupted, and goes on where it was.

Install: pip install -e '.[score]' and scikit-learn, whose digits are the pictures here.
A folder of your own: bnn score net.bnn --input photos/ --output scores/, as often as it takes (docs/howto/score.md).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

import bnn

net = Path(__file__).parent / "digits.bnn"
digits = load_digits()
pixels = np.uint8(digits.images * 255 / 16)  # 1,797 pictures of 8 x 8
with tempfile.TemporaryDirectory() as folder:
    pictures, scores = Path(folder, "digits"), Path(folder, "scores")
    pictures.mkdir()
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(pictures / f"{i:04}.png")

    score = [sys.executable, "-m", "bnn", "score", net, "--input", pictures, "--output", scores, "--rows", "100"]
    first = subprocess.Popen(score, stdout=subprocess.DEVNULL)
    while first.poll() is None and not any(scores.glob("part-*")):
        time.sleep(0.001)
    first.kill()  # as a power cut would
    first.wait()
    done = subprocess.run(score, capture_output=True, text=True, check=True)  # exit status 2: some have no result
    print(done.stderr + done.stdout, end="")
    assert "rows scored before" in done.stderr  # by the first one
    rows = pq.read_table(scores).to_pylist()

model = bnn.load(net)
direct = model(model.preprocessing.apply(pixels[..., np.newaxis])).argmax(axis=1)
assert [Path(row["file"]).stem for row in rows] == [f"{i:04}" for i in range(len(pixels))]  # each once, in order
assert [row["class"] for row in rows] == list(direct)
print(f"{len(rows):,} pictures, each scored once and in order; their classes are those of model(x)")
