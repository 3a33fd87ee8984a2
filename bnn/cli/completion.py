# SPDX-License-Identifier: Apache-2.0
"""bnn completion: the script by which a shell completes commands, options and names of files."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from ..runtime.progress import note

VARIABLE = "_BNN_COMPLETE"  # by which the script asks this program


@click.command("completion", short_help="Print the script that lets a shell complete this command.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and files.

    \b
    bash:  echo 'eval "$(bnn completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(bnn completion zsh)"' >> ~/.zshrc
    fish:  bnn completion fish > ~/.config/fish/completions/bnn.fish
    """
    made = _made(click.get_current_context().find_root().command, shell)
    print(ShellComplete.source(made), end="")  # bash's own looks for bash


def complete(command: click.Command, instruction: str) -> int:
    """Answer the script, which asks with ``instruction``, "SHELL_complete"; returns the exit status."""
    try:
        print(_made(command, instruction.removesuffix("_complete")).complete())
    except (KeyError, ValueError):
        note(
            f"bnn: found {VARIABLE}={instruction}, expected SHELL_complete as in the script of bnn completion; unset it"
        )
        return 2
    return 0


def _made(command: click.Command, shell: str) -> ShellComplete:
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(shell)
    return kind(command, {}, "bnn", VARIABLE)
