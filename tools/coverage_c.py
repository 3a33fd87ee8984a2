# SPDX-License-Identifier: Apache-2.0
"""Measure which lines, branches and conditions of the C runtime the tests reach.

A copy of the tree is built with clang's instrumentation and its tests run there; llvm-cov reports, per file, lines,
branches, and MC/DC (every condition of every decision shown to change the decision by itself).  The files that stand
between a hostile file and memory have floors; files below theirs are named, and the exit status is 1.

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

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "bnn",
    "csrc",
    "docs",
    "examples",
    "kernels",
    "tests",
    "tools",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
# Counters are not atomic: threads that share some take ten times as long.  They lose counts instead, and where a branch
# is the difference of two counters, it seems not to be taken: what threads run counts its rare branch by itself.
INSTRUMENT = "-fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc"
TABLE = (
    "-show-mcdc-summary",
    "-show-region-summary=false",
    "-ignore-filename-regex=/kernels/|/csrc/(host|include)/|_native|/include/python",
)
# With the scalar kernels, so that this is also the run of the tests with that family (`make test-kernels` has the
# others).  Tests that start a compiler are left out: they run their own builds, which are not measured.  Of tests/snn
# these are about the engine in C.
FAMILY, COUNT = "scalar", "60"  # random cases of each test: some branches are rare
TESTS = (
    "tests/runtime",
    "tests/events",
    "tests/ops",
    "tests/file/test_coding.py",
    "tests/snn/test_corruptions.py",
    "tests/snn/test_engine.py",
    "tests/snn/test_events.py",
    "tests/snn/test_feedback.py",
    "tests/snn/test_first_spike.py",
    "tests/snn/test_learning.py",
    "tests/snn/test_stable.py",
    "--ignore=tests/runtime/test_sanitizers.py",
    "--ignore=tests/runtime/test_header.py",
    "--ignore=tests/runtime/test_selected.py",
    "--ignore=tests/events/test_sanitizers.py",
    "-m",
    "not slow",
)

# Files are named by their paths below csrc/.
MODEL = ("model", "every", "selected", "validate", "graph", "coding", "crc32", "problem", "info", "work")
RUN = ("context", "exec", "spread", "poll", "cut", "step", "view")
CODING = ("describe", "create", "counts")
SNN = (
    "open", "run", "neurons", "scatter", "gather", "learn", "poll", "info", "events", "fire", "rows", "place", "pack",
)  # fmt: skip
CHECKED = (
    *(f"model/{name}.c" for name in MODEL),
    "ops/check.c",
    *(f"run/{name}.c" for name in RUN),
    *(f"coding/{name}.c" for name in CODING),
    *(f"snn/{name}.c" for name in SNN),
)

# Code that tests cannot reach: (file, kind) -> how many, and why.
EXCUSED = {
    ("model/problem.c", "branches"): (2, "no text is as long as its array: the bound is there for one that is"),
    ("model/problem.c", "mcdc"): (1, "the same"),
    ("model/model.c", "branches"): (4, "only where size_t has 32 bits, or where measuring has already failed"),
    ("model/model.c", "mcdc"): (2, "the same"),
    ("coding/create.c", "branches"): (7, "only where size_t has 32 bits, or where measuring has already failed"),
    ("snn/run.c", "lines"): (1, "only where size_t has 32 bits"),
    ("snn/run.c", "branches"): (2, "the same"),
    ("snn/open.c", "branches"): (2, "only where event populations are left out"),
    ("coding/describe.c", "branches"): (1, "only some commits draw a network that reaches it"),
}
FLOORS = {"lines": 100.0, "branches": 100.0, "mcdc": 95.0}


def tool(name: str) -> str:
    """A program of LLVM, under its plain name or Debian's; exits if there is none."""
    for candidate in (f"{name}-19", name):
        if shutil.which(candidate):
            return candidate
    raise SystemExit(f"coverage: '{name}-19' is not installed; on Debian: apt-get install clang-19 llvm-19")


def copy_tree(tree: Path) -> None:
    """Make a fresh copy of the sources."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    run(["cp", "-r", *COPIED, str(tree)], ROOT)


def run(command: Sequence[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(f"coverage: '{' '.join(command)[:120]}' failed with status {done.returncode}")


def build(tree: Path) -> None:
    compiler = tool("clang")
    flags = {"CC": compiler, "CFLAGS": INSTRUMENT, "LDFLAGS": INSTRUMENT, "LDSHARED": f"{compiler} -shared"}
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"], tree, **flags)


def run_tests(tree: Path, profiles: Path, arguments: Sequence[str]) -> None:
    shutil.rmtree(profiles, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", *(arguments or TESTS)]
    own = {
        "PYTHONPATH": str(tree),
        "LLVM_PROFILE_FILE": f"{profiles}/%m.profraw",
        "BNN_KERNELS": FAMILY,
        "BNN_TEST_COUNT": COUNT,
    }
    run(command, tree, **own)


def merge(tree: Path, profiles: Path) -> None:
    """Sum up what the tests' processes counted."""
    found = sorted(str(path) for path in profiles.glob("*.profraw"))
    if not found:
        raise SystemExit(f"coverage: no profile in {profiles}: the tests did not load the instrumented extension")
    run([tool("llvm-profdata"), "merge", "-sparse", "-o", str(profiles / "all.profdata"), *found], tree)


def llvm_cov(command: str, tree: Path, profiles: Path, *arguments: str) -> str:
    """The output of a command of llvm-cov."""
    (extension,) = (tree / "bnn").glob("_native*.so")
    whole = [tool("llvm-cov"), command, f"-instr-profile={profiles / 'all.profdata'}", str(extension), *arguments]
    return subprocess.run(whole, cwd=tree, check=True, capture_output=True, text=True).stdout


def below_floors(tree: Path, profiles: Path) -> Iterator[str]:
    """What is wrong with the files that have floors."""
    exported = json.loads(llvm_cov("export", tree, profiles, "-summary-only"))["data"][0]
    summaries = {file["filename"]: file["summary"] for file in exported["files"]}
    for name in CHECKED:
        summary = summaries.get(str(tree / "csrc" / name))
        if summary is None:
            yield f"csrc/{name}: not measured"
            continue
        for kind, floor in FLOORS.items():
            count, excused = summary[kind]["count"], EXCUSED.get((name, kind), (0, ""))[0]
            missed = count - summary[kind]["covered"] - excused
            if 100 * missed > (100 - floor) * count:
                yield f"csrc/{name}: {missed} of {count} {kind} are not reached, floor {floor:.0f}%"


def missing(tree: Path, profiles: Path, name: str) -> Iterator[str]:
    """Lines of llvm-cov for a file where a line did not run, a branch went one way, or a condition decided nothing."""
    shown = ("--show-branches=count", "--show-mcdc", "--show-expansions")
    for line in llvm_cov("show", tree, profiles, f"csrc/{name}", *shown).splitlines():
        zero = re.match(r" *\d+\| *0\|", line)
        one_way = re.search(r"(?:True|False): 0[],]", line)
        alone = re.search(r"C\d+-Pair: not covered|MC/DC Coverage for Decision: (?!100)", line)
        if zero or one_way or alone:
            yield f"  {name}: {line.strip()}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "coverage", help="where it works")
    parser.add_argument("--missing", nargs="*", default=[], metavar="FILE", help="say what is not reached in these")
    parser.add_argument("--report-only", action="store_true", help="report the last run")
    parser.add_argument("pytest", nargs="*", help="after --: other arguments for pytest than the usual ones")
    options = parser.parse_args(arguments)
    tree, profiles = options.folder.resolve() / "tree", options.folder.resolve() / "profiles"
    if not options.report_only:
        copy_tree(tree)
        build(tree)
        run_tests(tree, profiles, options.pytest)
    merge(tree, profiles)
    print(llvm_cov("report", tree, profiles, *TABLE))
    for name in options.missing:
        print(*missing(tree, profiles, name), sep="\n")
    low = list(below_floors(tree, profiles))
    for line in low:
        print(f"coverage: {line}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
