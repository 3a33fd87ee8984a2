# SPDX-License-Identifier: Apache-2.0
"""A network with ReLUs, trained as usual, as spiking neurons over time, which need no training of their own.

The ReLUs become 15 levels, and this costs some accuracy; the neurons then send exactly these levels, whatever the order
in which the pixels arrive.

Install: pip install -e '.[tensorflow,tools]'.  Writes spikes.snn.
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import bnn
from bnn.snn.convert import convert

tf.keras.utils.set_random_seed(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, 0 to 16
images, classes = np.rint(digits.images[..., np.newaxis] * 255 / 16), digits.target  # whole numbers, as pixels are
layers = tf.keras.layers
source = tf.keras.Sequential(
    [
        layers.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(10),
    ]
)
loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
source.compile(tf.keras.optimizers.Adam(0.02), loss)
source.fit(images[300:] / 255, classes[300:], batch_size=64, epochs=6, verbose=0)

conversion = convert(source, images[300:], scale=255, levels=15, percentile=99.9)
conversion.build().save("spikes.snn")
model = bnn.snn.load("spikes.snn")

test = images[:100]
expected = conversion.quantized.run(test)[conversion.quantized.output.name].reshape(100, -1)  # without spikes
for image, sums in zip(test, expected, strict=True):
    for order in ("once", "brightest", "bits"):  # how it arrives
        run = model.run(conversion.present(image, order))
        assert np.array_equal(run.scores, sums)
right = np.mean(expected.argmax(axis=1) == classes[:100])
same = np.mean(expected.argmax(axis=1) == np.argmax(source(test / 255), axis=1))
print(run)  # the last one's spikes, and what they cost
print(f"100 pictures in three orders: each sum of spikes equals the quantized network's; {same:.0%} have", end=" ")
print(f"Keras' class, {right:.0%} are right")
