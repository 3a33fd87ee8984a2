# SPDX-License-Identifier: Apache-2.0
"""From emitted files to a printed class on an emulated board, by the commands of the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from docs.blocks import furnish
from targets import BOARD, ROOT, TARGETS, missing

PAGE = (ROOT / "docs/howto/embedded.md").read_text(encoding="utf-8")


def test_the_page_shows_the_program() -> None:
    program = (BOARD / "class.c").read_text(encoding="utf-8").partition("\n")[2]
    assert f'```c title="class.c"\n{program}```\n' in PAGE


@pytest.mark.parametrize("printed", [["class 7", "0 of 4 wrong"], ["exit status 125"]], ids=["page", "fault"])
def test_the_commands_of_the_page(printed: list[str], tmp_path: Path) -> None:
    """`bnn emit c`, tr, arm-none-eabi-gcc and qemu-system-arm ($cc, $qemu); a fault in `main` ends the program, too."""
    if text := missing(TARGETS["cortex-m4"]):
        pytest.skip(text)
    environment = furnish(tmp_path)
    (commands,) = re.findall(r"test_board\.py -->\n```bash\n(.*?)```", PAGE, flags=re.S)
    assert len(commands.splitlines()) <= 10
    if printed == ["exit status 125"]:
        (tmp_path / "fault.c").write_text("int main(void)\n{\n    __builtin_trap();\n}\n", encoding="utf-8")
        commands = commands.replace("examples/board/class.c", "fault.c")
        commands = commands.replace("$qemu class.elf", "$qemu class.elf || echo exit status $?")
    done = subprocess.run(
        ["sh", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in printed] == printed, done.stdout
