# SPDX-License-Identifier: Apache-2.0
"""Every warning of docs/howto/quantizers.md, from the command line: bnn compile on a small Keras model for each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import bnn

tf = pytest.importorskip("tensorflow")
lq = pytest.importorskip("larq")
PAGE = Path(__file__).resolve().parents[2] / "docs/howto/quantizers.md"
ROWS = re.findall(
    r"^\| ([^|]+) \|", PAGE.read_text(encoding="utf-8").partition("| warning | where |\n|---|---|\n")[2], re.M
)


def conv(**options: Any) -> Any:
    binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    return lq.layers.QuantConv2D(8, 3, use_bias=False, padding="same", **{**binary, **options})


def norm(**options: Any) -> Any:
    uniform = tf.keras.initializers.RandomUniform(-3.0, 3.0, seed=3)
    return tf.keras.layers.BatchNormalization(
        **{"beta_initializer": uniform, "moving_mean_initializer": uniform, **options}
    )


def mostly_sign(w: Any) -> Any:
    """tf.sign of weights of which the first few are 0."""
    zeros = tf.concat([tf.zeros(3), tf.ones(tf.size(w) - 3)], axis=0)
    return tf.sign(w * tf.reshape(zeros, tf.shape(w)))


def models() -> dict[str, tuple[list[Any], int, str]]:
    """By the warning: the layers after a first one and its batch norm, which of them it is about, and what else it
    says."""
    halves = {"depthwise_quantizer": "ste_sign", "pointwise_quantizer": "ste_sign"}
    below = tf.keras.initializers.Constant(-500.0)
    return {
        "a kernel quantizer would make it binary": ([conv(kernel_quantizer=None), norm()], 0, ""),
        "an input quantizer would make it so": ([conv(input_quantizer=None), norm()], 0, "its weights are binary"),
        "a separable layer quantizes nothing between its halves": (
            [lq.layers.QuantSeparableConv2D(4, 3, **halves)], 0, "its weights are binary",
        ),
        "all its bits are +1, whatever the image": (
            [conv(), norm(), tf.keras.layers.ReLU(name="rectified"), conv(), norm()], 3,
            "'rectified' before its quantizer gives nothing below 0",
        ),
        "all its bits are -1, whatever the image": (
            [conv(name="low"), norm(beta_initializer=below), conv(), norm()], 2, "no sum of 'low' reaches the",
        ),
        "every threshold of its bits is 0": ([conv(), conv(), norm()], 0, "as without a batch norm"),
        "its input is a sign that is 0 at 0": ([conv(input_quantizer=tf.sign), norm()], 0, "takes twice the work"),
        "few of its weights are 0": (
            [conv(kernel_quantizer=mostly_sign, kernel_constraint=None), norm()], 0, "does its kernel quantizer give 0",
        ),
        "an image's result depends on the other images of its batch": (
            [conv(input_quantizer="magnitude_aware_sign"), norm()], 0, "as in Keras",
        ),
    }  # fmt: skip


def saved(layers: list[Any], folder: Path) -> Path:
    """With a quantizer that is not Larq's, as a SavedModel."""
    model = tf.keras.Sequential([tf.keras.layers.Input((9, 9, 3)), conv(input_quantizer=None), norm(), *layers])
    quantizers = [getattr(layers[0], name, None) for name in ("input_quantizer", "kernel_quantizer")]
    path = folder / ("model" if tf.sign in quantizers or mostly_sign in quantizers else "model.keras")
    model.save(path)
    return path


def test_every_row_of_the_page_is_tested() -> None:
    assert list(models()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_warning(row: str, call: Any, tmp_path: Path) -> None:
    """One line, the last, on stdout; it names the layer; JSON and `bnn inspect` have it, too."""
    layers, about, words = models()[row]
    net = tmp_path / "net.bnn"
    done = call("compile", saved(layers, tmp_path), "-o", net)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    (line,) = (line for line in lines if line.startswith("warning:"))
    assert line == lines[-1] and lines[-2].startswith("wrote ")
    assert row in line and words in line and line.startswith(f"warning: '{layers[about].name}': ")
    assert row not in "\n".join(lines[:-1])
    assert line in call("inspect", net).out.splitlines()
    assert call("inspect", net, "--json").json["warnings"] == bnn.load(net).warnings == [line]


def test_a_dead_network(call: Any, tmp_path: Path) -> None:
    """As it is used, with the model loaded in a process of its own, which says nothing itself."""
    layers, _, _ = models()["all its bits are +1, whatever the image"]
    done = call("compile", saved(layers, tmp_path), "-o", tmp_path / "net.bnn")
    assert (done.status, done.err) == (0, "")
    *_, wrote, line = done.out.splitlines()
    assert wrote.startswith("wrote ") and line.startswith(f"warning: '{layers[3].name}': all its bits are +1")
