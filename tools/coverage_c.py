# SPDX-License-Identifier: Apache-2.0
"""Measure which lines, branches and conditions of the C runtime the tests reach.

A copy of the tree is built with clang's instrumentation and its tests run there; llvm-cov counts.  What is reported is
per file: lines, branches, and MC/DC (every condition of every decision shown to change the decision by itself).  The
files that stand between a hostile file and memory have floors; below one the exit status is 1.

    python tools/coverage_c.py                      all of it, in build/coverage
    python tools/coverage_c.py --missing FILE...    and what is not reached in these files: model/model.c
    python tools/coverage_c.py --report-only ...    the same of the last run
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("bnn", "csrc", "docs", "kernels", "tests", "tools", "setup.py", "pyproject.toml", "README.md", "LICENSE")
INSTRUMENT = "-fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc"
# Tests that start a compiler are left out: they run their own builds, which are not measured.
TESTS = (
    "tests/runtime",
    "tests/events",
    *(
        f"--ignore=tests/{name}.py"
        for name in ("runtime/test_sanitizers", "runtime/test_header", "events/test_sanitizers")
    ),
    "-m",
    "not slow",
)

# Files are named by their paths below csrc/.
MODEL = ("model", "validate", "graph", "coding", "crc32", "problem", "info", "work")
RUN = ("context", "exec", "cut", "step", "view")
EVENTS = ("build", "check", "tables")
CHECKED = (
    *(f"model/{name}.c" for name in MODEL),
    "ops/check.c",
    *(f"run/{name}.c" for name in RUN),
    *(f"events/{name}.c" for name in EVENTS),
)


class Share(NamedTuple):
    """A number covered, and the total."""

    covered: int
    total: int

    @property
    def percent(self) -> float:
        return 100.0 * self.covered / self.total if self.total else 100.0


class Reached(NamedTuple):
    """The coverage of one file."""

    lines: Share
    branches: Share
    mcdc: Share


# Code that tests cannot reach: (file, kind) -> how many, and why.
EXCUSED = {
    ("model/validate.c", "lines"): (1, "before the first case of a switch that a macro writes"),
    ("model/problem.c", "branches"): (2, "no text is as long as its array: the bound is there for one that is"),
    ("model/problem.c", "mcdc"): (1, "the same"),
    ("model/model.c", "branches"): (4, "only where size_t has 32 bits, or where measuring has already failed"),
    ("model/model.c", "mcdc"): (2, "the same"),
}
FLOORS = {"lines": 100.0, "branches": 100.0, "mcdc": 95.0}


def tool(name: str) -> str:
    """A program of LLVM, under its plain name or Debian's; exits if there is none."""
    for candidate in (f"{name}-19", name):
        if shutil.which(candidate):
            return candidate
    raise SystemExit(f"coverage: '{name}-19' is not installed; on Debian: apt-get install clang-19 llvm-19")


def copy_tree(target: Path) -> None:
    """Make a fresh copy of the sources; objects of the last build stay if they are newer than their sources."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run(command: Sequence[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(f"coverage: '{' '.join(command)[:120]}' failed with status {done.returncode}")


def build(tree: Path) -> None:
    compiler = tool("clang")
    flags = {"CC": compiler, "CFLAGS": INSTRUMENT, "LDFLAGS": INSTRUMENT, "LDSHARED": f"{compiler} -shared"}
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], tree, **flags)


def run_tests(tree: Path, profiles: Path, arguments: Sequence[str]) -> None:
    shutil.rmtree(profiles, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or TESTS)]
    run(command, tree, PYTHONPATH=str(tree), LLVM_PROFILE_FILE=f"{profiles}/%m.profraw")


def export(tree: Path, profiles: Path) -> dict[str, Any]:
    """The report of llvm-cov, from its JSON."""
    found = sorted(str(path) for path in profiles.glob("*.profraw"))
    if not found:
        raise SystemExit(f"coverage: no profile in {profiles}: the tests did not load the instrumented extension")
    merged = str(profiles / "all.profdata")
    run([tool("llvm-profdata"), "merge", "-sparse", "-o", merged, *found], tree)
    (extension,) = (tree / "bnn").glob("_native*.so")
    command = [tool("llvm-cov"), "export", f"-instr-profile={merged}", str(extension)]
    answer = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    exported: dict[str, Any] = json.loads(answer)["data"][0]
    return exported


def by_file(exported: dict[str, Any], tree: Path) -> dict[str, Reached]:
    """{path: coverage} for every file below csrc/, except csrc/host."""
    found = {}
    for file in exported["files"]:
        path = Path(file["filename"])
        if path.is_relative_to(tree / "csrc") and path.parent.name != "host":
            parts = (file["summary"][kind] for kind in ("lines", "branches", "mcdc"))
            shares = (Share(part["covered"], part["count"]) for part in parts)
            found[path.relative_to(tree / "csrc").as_posix()] = Reached(*shares)
    return found


def missing(tree: Path, profiles: Path, name: str) -> Iterator[str]:
    """Lines of llvm-cov for a file where a line did not run, a branch went one way, or a condition decided nothing."""
    (extension,) = (tree / "bnn").glob("_native*.so")
    command = [tool("llvm-cov"), "show", f"-instr-profile={profiles / 'all.profdata'}", str(extension)]
    command += [f"csrc/{name}", "--show-branches=count", "--show-mcdc", "--show-expansions"]
    text = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        zero = re.match(r" *\d+\| *0\|", line)
        one_way = re.search(r"(?:True|False): 0[],]", line)
        alone = re.search(r"C\d+-Pair: not covered|MC/DC Coverage for Decision: (?!100)", line)
        if zero or one_way or alone:
            yield f"  {name}: {line.strip()}"


def report(found: dict[str, Reached]) -> int:
    """Print the table; returns the number of files and kinds below their floors."""
    print(f"{'file':<24}{'lines':>16}{'branches':>16}{'MC/DC':>16}")
    missed = 0
    for name in sorted(found, key=lambda n: (n not in CHECKED, n)):
        line = f"{name:<24}"
        for kind, share in found[name]._asdict().items():
            excused = EXCUSED.get((name, kind), (0, ""))[0]
            low = name in CHECKED and share._replace(covered=share.covered + excused).percent < FLOORS[kind]
            missed += low
            left = share.total - share.covered
            line += f"{share.percent:9.1f}%{'!' if low else ' '}{f'-{left}' if left else '':<5}"
        print(line.rstrip())
    for name in CHECKED:
        if name not in found:
            print(f"{name}: not measured!")
            missed += 1
    everything = f"{'all of csrc/':<24}"
    for k in range(len(FLOORS)):
        shares = [reached[k] for reached in found.values()]
        everything += f"{Share(sum(s.covered for s in shares), sum(s.total for s in shares)).percent:9.1f}%      "
    print(everything.rstrip())
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "coverage", help="where it works")
    parser.add_argument("--missing", nargs="*", default=[], metavar="FILE", help="say what is not reached in these")
    parser.add_argument("--report-only", action="store_true", help="report the last run")
    parser.add_argument("pytest", nargs="*", help="after --: other arguments for pytest than the usual ones")
    options = parser.parse_args(arguments)
    tree, profiles = options.folder / "tree", options.folder / "profiles"
    if not options.report_only:
        copy_tree(tree)
        build(tree)
        run_tests(tree, profiles, options.pytest)
    exported = export(tree, profiles)
    missed = report(by_file(exported, tree.resolve()))
    for name in options.missing:
        print(*missing(tree, profiles, name), sep="\n")
    if missed:
        floors = ", ".join(f"{kind} {least:.0f}%" for kind, least in FLOORS.items())
        print(f"coverage: {missed} figures are below their floor (!): {floors}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
