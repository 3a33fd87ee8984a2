# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks (bench_*.py, zoo.py) are made of; knows the package and ``training``."""

import click


class MissingError(click.ClickException):
    """Something that is not installed or does not work here; the message says what."""
