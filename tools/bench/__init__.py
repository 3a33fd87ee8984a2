# SPDX-License-Identifier: Apache-2.0
"""Parts of the benchmarks (benchmark.py, zoo.py); uses the package and ``training``."""

import click


class MissingError(click.ClickException):
    """Something that is not installed or does not work here; the message says what."""
