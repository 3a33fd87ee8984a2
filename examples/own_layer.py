# SPDX-License-Identifier: Apache-2.0
"""A layer of your own in a network of Larq: XNOR-Net's convolution, whose signs are scaled filter by filter.

The compiler looks at what a layer computes, not at its class: docs/howto/keras.md lists the ops that it reads.  A file
needs the class, so it is compiled in a program that has registered it, as here.

Install: pip install -e '.[tensorflow,tools]', and Larq (README.md has the line).  Writes own_layer.keras.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Larq needs Keras 2
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN would round otherwise

import larq as lq
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import bnn


@tf.custom_gradient
def sign(x):
    """+1 at 0, as a bit has no third value; gradients go straight through between -1 and 1."""
    return tf.where(x >= 0, 1.0, -1.0), lambda upstream: tf.where(tf.abs(x) <= 1, upstream, 0.0)


@tf.keras.utils.register_keras_serializable("examples")
class XnorConv2D(tf.keras.layers.Conv2D):
    def call(self, x):
        scale = tf.reduce_mean(tf.abs(self.kernel), axis=(0, 1, 2))
        return self.convolution_op(sign(x), sign(self.kernel)) * scale


tf.keras.utils.set_random_seed(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, 0 to 16
images = (digits.images[..., np.newaxis] / 16).astype(np.float32)
layers = tf.keras.layers
binary = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
source = tf.keras.Sequential(
    [
        layers.Input((8, 8, 1)),
        lq.layers.QuantConv2D(32, 3, **binary),  # reads the picture
        *(layers.BatchNormalization(momentum=0.9), XnorConv2D(64, 3, use_bias=False)),
        *(layers.BatchNormalization(momentum=0.9), XnorConv2D(64, 3, padding="same", use_bias=False)),
        *(layers.BatchNormalization(momentum=0.9), layers.Flatten()),
        lq.layers.QuantDense(10, input_quantizer="ste_sign", **binary),
        layers.BatchNormalization(momentum=0.9),
        layers.Softmax(),
    ]
)
source.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
source.fit(images[300:], digits.target[300:], batch_size=64, epochs=4, verbose=0)
source.save("own_layer.keras")

model = bnn.compile("own_layer.keras", require_binary=True)  # an error if a layer but the first stayed float
report = bnn.verify(source, model, images[:300])
assert report.ok and report.different_bits == 0, report
kinds = {op.layer: op.op for op in model.ops if "conv" in op.op}
assert kinds["xnor_conv2d"] == kinds["xnor_conv2d_1"] == "bconv2d"
right = np.mean(model(images[:300]).argmax(axis=1) == digits.target[:300])
print(f"XnorConv2D runs as {kinds['xnor_conv2d']}, every bit as in Keras; {right:.1%} of 300 pictures right")
