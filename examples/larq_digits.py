# SPDX-License-Identifier: Apache-2.0
"""Train a small network of Larq on scikit-learn's digits, compile it, and compare it with Keras.

Install: pip install -e '.[tensorflow,tools]', and Larq (README.md has the line).
Writes larq_digits.bnn, or the file that is given; `bnn run larq_digits.bnn examples/seven.png` then says "seven".
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Larq needs Keras 2
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN would round otherwise

import larq as lq
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import bnn

tf.keras.utils.set_random_seed(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, 0 to 16
images, classes = (digits.images[..., np.newaxis] / 16).astype(np.float32), digits.target
x, y, x_test, y_test = images[300:], classes[300:], images[:300], classes[:300]

layers = tf.keras.layers
weights = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
binary = {"input_quantizer": "ste_sign", **weights}
source = tf.keras.Sequential(
    [
        layers.Input((8, 8, 1), name="image"),
        lq.layers.QuantConv2D(32, 3, padding="same", **weights),  # reads the picture
        layers.BatchNormalization(momentum=0.9),
        lq.layers.QuantConv2D(64, 3, padding="same", **binary),
        layers.MaxPool2D(2),
        layers.BatchNormalization(momentum=0.9),
        layers.Flatten(),
        lq.layers.QuantDense(10, **binary),
        layers.BatchNormalization(momentum=0.9),
        layers.Softmax(),
    ]
)
source.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
source.fit(x, y, batch_size=64, epochs=4, verbose=0)

path = sys.argv[1] if len(sys.argv) > 1 else "larq_digits.bnn"
labels = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
bnn.compile(source, labels=labels, preprocess={"scale": 255, "fit": "stretch"}).save(path)

model = bnn.load(path)  # from here on, without TensorFlow
report = bnn.verify(source, model, x_test)  # every bit and every sum of every layer
assert report.ok and report.different_bits == 0, report
ours, theirs = model(x_test).argmax(axis=1), np.argmax(source(x_test, training=False), axis=1)
assert np.array_equal(ours, theirs)
print(f"{path}: {model.nbytes:,} bytes; the classes of Keras in {len(x_test)} of {len(x_test)} pictures,", end=" ")
print(f"{np.mean(ours == y_test):.1%} of them right")
