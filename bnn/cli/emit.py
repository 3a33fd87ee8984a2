# SPDX-License-Identifier: Apache-2.0
"""bnn emit: other forms of a compiled network."""

from __future__ import annotations

import click

from .emit_nir import emit_nir_command


@click.group(short_help="Write other forms of a .bnn file.")
def emit() -> None:
    """Write a compiled network in another form."""


emit.add_command(emit_nir_command)
