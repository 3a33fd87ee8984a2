# SPDX-License-Identifier: Apache-2.0
"""A residual network of Larq, as Bi-Real Net has it: a shortcut of real numbers around every binary convolution.

The sums with a shortcut equal Keras' bit for bit: the pixels are multiples of 1/16 and the first weights are signs, so
that no sum rounds.  After the mean over the image, numbers are equal up to rounding (docs/explanation/semantics.md).

Install: pip install -e '.[tensorflow,tools]', and Larq (README.md has the line).
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Larq needs Keras 2
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN would round otherwise

import larq as lq
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import bnn

layers = tf.keras.layers
weights = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False, "padding": "same"}


def block(x, filters):
    """Twice as many filters: half the image, and the shortcut is pooled and doubled."""
    stride = filters // x.shape[-1]
    y = lq.layers.QuantConv2D(filters, 3, strides=stride, input_quantizer="approx_sign", **weights)(x)
    y = layers.BatchNormalization(momentum=0.9)(y)
    if stride == 2:
        x = layers.MaxPool2D(2)(x)
        x = layers.Concatenate()([x, x])
    return layers.Add()([x, y])


tf.keras.utils.set_random_seed(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, 0 to 16
images = (digits.images[..., np.newaxis] / 16).astype(np.float32)
image = layers.Input((8, 8, 1))
x = layers.BatchNormalization(momentum=0.9)(lq.layers.QuantConv2D(32, 3, **weights)(image))
sums = [x := block(x, filters) for filters in (32, 32, 64, 64)]
x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
source = tf.keras.Model(image, x)
source.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
source.fit(images[300:], digits.target[300:], batch_size=64, epochs=5, verbose=0)

model = bnn.compile(source)
taps = model.activations(images[:300])  # what each layer gives, by its name
*theirs, scores = (np.array(y) for y in tf.keras.Model(image, [*sums, x])(images[:300], training=False))
for name, y in zip(("add", "add_1", "add_2", "add_3"), theirs, strict=True):
    assert np.array_equal(taps[name], y), name
report = bnn.verify(source, model, images[:300])
assert report.ok and report.different_bits == 0, report
ours = model(images[:300])
assert np.allclose(ours, scores, rtol=0, atol=1e-5)
right = np.mean(ours.argmax(axis=1) == digits.target[:300])
print(f"four sums with a shortcut: {sum(y.size for y in theirs):,} floats equal Keras', bit for bit;", end=" ")
print(f"scores by {np.abs(ours - scores).max():.0e}; {right:.1%} of 300 pictures right")
