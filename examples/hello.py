# SPDX-License-Identifier: Apache-2.0
"""Show a digit and the class that a network of 11 kB gives it: `make hello`, or python examples/hello.py."""

from pathlib import Path

import numpy as np

import bnn

folder = Path(__file__).parent
model = bnn.load(folder / "digits.bnn")
image = np.loadtxt(folder / "seven.txt", dtype=np.float32).reshape(1, 8, 8, 1)  # pixels from 0 to 1
scores = model(image)[0]

for row in image[0, :, :, 0]:
    print("".join(2 * " .:+#"[round(float(pixel) * 4)] for pixel in row))
print(f"\nclass {scores.argmax()}, {scores.max():.1%} sure")
