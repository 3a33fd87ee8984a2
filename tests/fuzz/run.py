# SPDX-License-Identifier: Apache-2.0
"""Fuzz whatever reads what a stranger may have written.

    make fuzz                              every target for a minute, two at a time
    make fuzz FUZZ_SECONDS=3600            for an hour each
    make fuzz FUZZ_RUNS=20000000           so many executions, shared out among the targets
    python tests/fuzz/run.py load run      these targets alone; --help tells the rest

| target     | what                                                                                             |
|------------|--------------------------------------------------------------------------------------------------|
| load       | bnn_model_open on any bytes                                                                      |
| run        | bnn_run on what opens: batches, workers, one op at a time; against one image at a time           |
| events     | the event engine on what opens, its calls in any order; against bnn_run                          |
| calls      | the C API in any order, with wrong arguments                                                     |
| spikes     | networks of spiking neurons: .snn files, and the calls of bnn_snn.h in any order                 |
| recordings | bnn.streams.recordings.read: every format                                                            |
| arrays     | .npy and .npz files as the command line reads them                                               |
| nir        | NIR files, up to where an importer would get them                                                |

The first five are C: the runtime under AddressSanitizer and UndefinedBehaviorSanitizer, in one process that reuses its
memory, with a mutator that knows the format (mutator.c, spikes_mutator.c).  They need clang (CLANG=..., default:
clang-19 or clang) with libFuzzer, in Debian's libclang-rt-19-dev.  The others are Python under atheris, for which a
virtual environment is made.  All of it lies in build/fuzz: `corpus` grows from run to run, `found` holds what must not
be.

Seeds are made anew (seeds.py), so that every op and the current version are among them; tests/fuzz/corpus adds what
fuzzing found and seeds do not reach.  `--merge` makes that anew from build/fuzz/corpus.  To look at a finding:

    build/fuzz/c/run build/fuzz/found/run-crash-...

A crash, a hang, a leak or too much memory stops its target and makes the exit status 1.  tests/fuzz/test_replay.py runs
the seeds and the corpus with the other tests, without clang.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sanitized import SANITIZE, Build, is_kernel  # noqa: E402

BUILD = ROOT / "build" / "fuzz"
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
# Of all executions; by how much there is to find, and what one costs.
C_TARGETS = {"load": 0.35, "run": 0.2, "events": 0.15, "calls": 0.15, "spikes": 0.1}
PYTHON_TARGETS = {"recordings": 0.025, "arrays": 0.024, "nir": 0.001}
# The seeds are made with the tests' helpers, hence pytest.
PYTHON_PACKAGES = (
    "atheris>=2.3,<4",
    "numpy",
    "cffi",
    "click",
    "rich",
    "nir>=1.0.4,<2",
    "h5py>=3.8,<4",
    "expelliarmus",
    "pytest",
)
LIMITS = ("-timeout=25", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-max_len=16384")
MOST_KEPT = 1600  # bytes of an input in tests/fuzz/corpus
KINDS = ("crash", "timeout", "leak", "oom")


@dataclass
class Outcome:
    """What became of a target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    found: list[Path] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.found and not self.error

    def row(self) -> str:
        counts = (sum(f"-{kind}-" in path.name for path in self.found) for kind in KINDS)
        speed = self.executions / self.seconds if self.seconds else 0
        cells = (f"{n:>8}" for n in counts)
        return f"{self.target:<11}{self.executions:>14,}{speed:>12,.0f}{self.edges:>8}" + "".join(cells)


def fuzz_flags(source: Path) -> Sequence[str]:
    """Coverage guides by the runtime alone.  Comparisons are not traced: the sanitizers' own checks are most of them.
    Vector kernels, whose tiles take minutes with every check, have AddressSanitizer's."""
    coverage = ("-fsanitize-coverage=inline-8bit-counters,pc-table",)
    if is_kernel(source) and source.parent.name not in ("kernels", "scalar", "flash"):
        return ("-O1", "-g", "-fsanitize=address")
    return ("-O1", *SANITIZE, *(coverage if source.parts[0] != "tests" else ()))


def clang() -> str:
    found = os.environ.get("CLANG") or shutil.which("clang-19") or shutil.which("clang")
    if found is None:
        raise SystemExit("fuzz: no clang; on Debian: apt-get install clang-19 libclang-rt-19-dev, or name it in CLANG")
    return found


def build_c(target: str) -> Path:
    build = Build(BUILD / "c", fuzz_flags, ("-fsanitize=fuzzer,address,undefined",), clang())
    mutator = ("spikes_mutator",) if target == "spikes" else ("mutator", "sketch")
    files = [Path("tests/fuzz", f"{name}.c") for name in (target, "fuzz", *mutator)]
    return build.program(target, files)


def build_python() -> Path:
    """An interpreter with atheris; the package is the one of this tree, as it was built in it."""
    python = BUILD / "venv" / "bin" / "python"
    if not (BUILD / "venv" / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(BUILD / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PYTHON_PACKAGES], check=True)
        (BUILD / "venv" / "ready").touch()
    return python


def command(target: str) -> list[str]:
    if target in C_TARGETS:
        return [str(BUILD / "c" / target)]
    return [str(BUILD / "venv" / "bin" / "python"), "tests/fuzz/python_targets.py", target]


def kind_of(target: str) -> str:
    """What its inputs are: those of the C targets but one are all models."""
    return "c" if target in C_TARGETS and target != "spikes" else target


def corpora(target: str) -> list[str]:
    """Where inputs lie; new ones go to the first folder."""
    folders = [BUILD / "corpus" / target, BUILD / "seeds" / kind_of(target), CORPUS / kind_of(target)]
    folders[0].mkdir(parents=True, exist_ok=True)
    return [str(folder) for folder in folders if folder.is_dir()]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "PYTHONPATH": path, "UBSAN_OPTIONS": "print_stacktrace=1", "PYTHONWARNINGS": "ignore"}


def run(target: str, seconds: int, runs: int) -> Outcome:
    found = BUILD / "found"
    found.mkdir(exist_ok=True)
    start, begun = time.monotonic(), time.time()
    limit = [f"-runs={runs}"] if runs else [f"-max_total_time={seconds}"]
    options = [*limit, *LIMITS, f"-artifact_prefix={found}/{target}-", "-print_final_stats=1"]
    if target not in C_TARGETS:
        options.append("-detect_leaks=0")  # of the interpreter
    log = BUILD / f"{target}.log"
    with open(log, "wb") as file:
        status = subprocess.run(
            [*command(target), *options, *corpora(target)], cwd=ROOT, env=environment(), stdout=file, stderr=file
        ).returncode
    outcome = Outcome(target, seconds=time.monotonic() - start)
    text = log.read_text(errors="replace")
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", text, re.M)
    edges = re.findall(r" cov: (\d+)", text)
    outcome.executions = max((int(a or b) for a, b in executed), default=0)
    outcome.edges = int(edges[-1]) if edges else 0
    outcome.found = [p for p in found.glob(f"{target}-*") if p.stat().st_mtime >= begun and "slow-unit" not in p.name]
    if status != 0 and not outcome.found:
        outcome.error = f"exit status {status}"
    print(f"{target}: {'done' if outcome.ok else f'FAILED, see {log}'}", flush=True)
    return outcome


def report(outcomes: Sequence[Outcome]) -> None:
    head = "".join(f"{kind:>8}" for kind in ("crashes", "hangs", "leaks", "memory"))
    print(f"\n{'target':<11}{'executions':>14}{'per second':>12}{'edges':>8}{head}")
    for outcome in outcomes:
        print(outcome.row())
        for path in outcome.found:
            print(f"    {path.relative_to(ROOT)}")
        if outcome.error:
            print(f"    {outcome.error}; see build/fuzz/{outcome.target}.log")
    total = sum(o.executions for o in outcomes)
    print(f"{'all':<11}{total:>14,}    {sum(len(o.found) for o in outcomes)} findings")


def merge(targets: Sequence[str]) -> None:
    """tests/fuzz/corpus anew: of small inputs that fuzzing found, as few as reach every line that seeds do not."""
    for kind in dict.fromkeys(map(kind_of, targets)):
        target = "calls" if kind == "c" else kind  # calls opens, runs and has an engine: it reaches what all reach
        grown = [str(BUILD / "corpus" / t) for t in targets if kind_of(t) == kind]
        kept, known = BUILD / "merged" / kind, BUILD / "seeds" / kind
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(known, kept)
        subprocess.run(
            [*command(target), "-merge=1", "-use_counters=0", f"-max_len={MOST_KEPT}", str(kept), *grown],
            cwd=ROOT, env=environment(), check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.rmtree(CORPUS / kind, ignore_errors=True)
        (CORPUS / kind).mkdir(parents=True)
        for path in kept.iterdir():
            if not (known / path.name).exists() and path.stat().st_size <= MOST_KEPT:
                shutil.copy(path, CORPUS / kind / path.name)


def make_seeds(targets: Sequence[str]) -> None:
    from fuzz import seeds

    shutil.rmtree(BUILD / "seeds", ignore_errors=True)
    for kind in dict.fromkeys(map(kind_of, targets)):
        print(f"{kind}: {seeds.write(kind, BUILD / 'seeds' / kind)} seeds", flush=True)


def main() -> int:
    every = {**C_TARGETS, **PYTHON_TARGETS}
    parser = argparse.ArgumentParser(description="Fuzz whatever reads what a stranger may have written.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(every)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--runs", type=int, default=0, help="executions of all targets together, instead of seconds")
    parser.add_argument("--jobs", type=int, default=2, help="targets side by side (2)")
    parser.add_argument("--merge", action="store_true", help="make tests/fuzz/corpus anew; fuzz nothing")
    options = parser.parse_args()
    unknown = set(options.targets) - set(every)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    targets = options.targets or list(every)

    make_seeds(targets)
    for target in targets:
        build_c(target) if target in C_TARGETS else build_python()
    if options.merge:
        merge(targets)
        return 0
    shares = {target: every[target] / sum(every[t] for t in targets) for target in targets}
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(
            pool.map(lambda t: run(t, options.seconds, round(options.runs * shares[t])), sorted(targets, key=every.get))
        )
    report(outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
