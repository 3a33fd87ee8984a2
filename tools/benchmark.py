#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure how long things take, all contestants in turns: python tools/benchmark.py CASE --help"""

from __future__ import annotations

import importlib

import click

CASES = {
    "models": "Whole networks against TensorFlow, Larq Compute Engine, ONNX Runtime and OpenVINO.",
    "kernels": "Every kernel family against the machine's register-loop rates.",
    "elements": "Additions, pools and the like: their share of a copy's bandwidth.",
    "calibration": "Whole networks before and after `bnn calibrate`.",
    "int8": "Layers of bytes against the machine's rate, ONNX Runtime and OpenVINO.",
    "integers": "Networks as floats, as int8 and as integers only, against XNNPACK.",
    "mca": "Inner loops of binary kernels on processors that are not here, too, by llvm-mca.",
    "openvino": "Binary 3x3 layers against OpenVINO's BinaryConvolution.",
    "events": "The event-driven engine against the synchronous one.",
    "snn": "Networks of spiking neurons against simulators.",
    "rounded": "Networks of spiking neurons with weights of eight bits: the decisions that turn.",
    "conversion": "Networks of counters: differences, accuracies and steps.",
    "score": "`bnn score` on JPEG pictures in Parquet files, in one process and on Ray.",
}


class Cases(click.Group):
    """Each is imported when it runs: they need different packages."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(CASES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return getattr(importlib.import_module(f"bench.cases.{name}"), name) if name in CASES else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Cases"):
            formatter.write_dl(list(CASES.items()))


if __name__ == "__main__":
    Cases(help=__doc__, subcommand_metavar="CASE [OPTIONS]...")()
