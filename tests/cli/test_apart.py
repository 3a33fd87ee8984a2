# SPDX-License-Identifier: Apache-2.0
"""The process in which a model file is loaded: its limits, how it ends, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

import bnn
from bnn import errors
from bnn.cli import apart, child
from bnn.cli.apart import Limits, run_apart

pytestmark = pytest.mark.child
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits memory, and ends children with parents")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What is loaded; the tests act before anybody looks into it."""
    path = tmp_path / "network.keras"
    path.write_bytes(b"")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "net.bnn"


def running(mark: str) -> list[int]:
    """Numbers of the processes with a word in their command line or environment, but for this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def gone(mark: str) -> bool:
    """Whether none of them is left, at once or soon."""
    for _ in range(1000):  # each looks at every process
        if not running(mark):
            return True
        time.sleep(0.02)
    return False


class TestLimits:
    @pytest.mark.parametrize("code", [
        "import time; time.sleep(600)",
        "import re; re.match('(a+)+b', 'a' * 64)",  # Python itself is held up
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); signal.pause()",
    ])  # fmt: skip
    def test_an_import_that_hangs(self, call: Any, model: Path, out: Path, when_loading: Any, code: str) -> None:
        when_loading(code)
        done = call("compile", model, "-o", out, "--timeout", 1)
        assert done.status == 2 and done.out == "" and not out.exists()
        assert done.err.startswith(f"bnn: error: {model}: loading it made no progress for 1 seconds and was stopped")
        assert "--timeout" in done.err and gone(str(model))

    def test_verify_too(self, call: Any, model: Path, net: Path, when_loading: Any) -> None:
        when_loading("import time; time.sleep(600)")
        done = call("verify", model, net, "--timeout", 1)
        assert done.status == 2 and "made no progress for 1 seconds" in done.err

    @pytest.mark.parametrize(("code", "options", "words"), [
        ("import time; time.sleep(600)", ["--timeout", 1], "made no progress for 1 seconds"),
        ("import os; os.abort()", [], "was ended by SIGABRT; the file may be damaged"),
        ("bytearray(2**31)", ["--max-memory", "1G"], "needs more than the allowed 1G of memory"),
    ])  # fmt: skip
    def test_nir_files_too(
        self, call: Any, model: Path, net: Path, when_loading: Any, code: str, options: list[Any], words: str
    ) -> None:
        """libhdf5 crashes and hangs on some that are damaged."""
        when_loading(code, module="nir")
        done = call("verify", "--nir", model, net, *options)
        assert done.status == 2 and done.err.startswith(f"bnn: error: {model}: ") and words in done.err

    @linux
    @pytest.mark.parametrize("code", [
        "held = [bytearray(2**24) for _ in range(1024)]",
        "import numpy; numpy.ones(2**34, numpy.uint8)",
        "try:\n    bytearray(2**34)\nexcept MemoryError as error:\n    raise ValueError('cannot load') from error",
    ])  # fmt: skip
    def test_an_import_that_swells(self, call: Any, model: Path, out: Path, when_loading: Any, code: str) -> None:
        when_loading(code)
        done = call("compile", model, "-o", out, "--max-memory", "512M")
        assert done.status == 2 and done.out == "" and not out.exists()
        assert done.err.startswith(f"bnn: error: {model}: loading it needs more than the allowed 512M of memory")
        assert "--max-memory" in done.err

    @linux
    def test_a_network_that_swells(self, call: Any, tmp_path: Path, out: Path) -> None:
        """A file of some hundred bytes, one of whose values takes most of what is allowed while it is read."""
        pytest.importorskip("tf_keras")
        path, shape = tmp_path / "large.keras", [None, 128, 128, 4]
        layers = [
            {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_input_shape": shape}},
            {"module": "keras.layers", "class_name": "UpSampling2D", "config": {"size": [32, 32]}},
        ]
        config = {"module": "keras", "class_name": "Sequential", "config": {"name": "large", "layers": layers}}
        with h5py.File(tmp_path / "weights", "w") as weights:
            weights.create_group("vars")
            weights.create_group("layers/up_sampling2d/vars")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
            archive.writestr("config.json", json.dumps(config))
            archive.write(tmp_path / "weights", "model.weights.h5")
        done = call("compile", path, "-o", out, "--max-memory", "1G")
        assert done.status == 2 and done.err.startswith(f"bnn: error: {path}: ") and not out.exists()
        assert "--max-memory" in done.err

    @linux
    def test_no_limits(self, call: Any, model: Path, out: Path, when_loading: Any) -> None:
        when_loading(
            "import resource, signal\n"
            "print(resource.getrlimit(resource.RLIMIT_DATA)[0], signal.getitimer(signal.ITIMER_REAL)[0])\n"
            "import bnn; raise bnn.InputError('enough')"
        )
        assert call("compile", model, "-o", out, "--max-memory", 0, "--timeout", 0).out.split() == ["-1", "0.0"]
        memory, seconds = map(float, call("compile", model, "-o", out).out.split())
        assert 0 < memory <= 16 * 2**30 and 300 < seconds <= 600  # the defaults
        memory, seconds = map(
            float, call("compile", model, "-o", out, "--max-memory", "3G", "--timeout", 99).out.split()
        )
        assert memory == 3 * 2**30 and 0 < seconds <= 99

    def test_sizes(self) -> None:
        for text, size in (("0", 0), ("5", 5), ("512M", 2**29), ("8g", 2**33), ("8GiB", 2**33), ("2KB", 2**11)):
            assert apart._parse_size(None, None, text) == size  # type: ignore[arg-type]
        for size, text in ((0, "0"), (5, "5"), (2**29, "512M"), (2**33, "8G"), (3 * 2**39, "1536G")):
            assert apart.size_text(size) == text

    @pytest.mark.parametrize("size", ["", "G", "-1G", "1.5G", "8X", "1e9", "\u0663G", "8 G"])
    def test_what_is_no_size(self, call: Any, model: Path, size: str) -> None:
        done = call("compile", model, f"--max-memory={size}")
        assert done.status == 2 and "expected something like 512M or 8G" in done.err

    @pytest.mark.parametrize("command", ["compile", "verify"])
    def test_help_states_them(self, call: Any, command: str) -> None:
        words = " ".join(call(command, "--help").out.split())
        assert "Default: 16G, or the machine's memory if that is less" in words and "Default: 600." in words

    def test_where_memory_cannot_be_limited(self, call: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apart.sys, "platform", "darwin")
        done = call("compile", model, "--max-memory", "8G")
        assert done.status == 2 and "only Linux can limit a process's memory" in done.err


class TestEnds:
    @pytest.mark.parametrize(("name", "words"), [
        ("SIGKILL", "may have run out of memory"), ("SIGSEGV", "may be damaged"), ("SIGABRT", "--max-memory"),
    ])  # fmt: skip
    def test_killed(self, call: Any, model: Path, out: Path, when_loading: Any, name: str, words: str) -> None:
        when_loading(f"import os, signal; os.kill(os.getpid(), signal.{name})")
        done = call("compile", model, "-o", out)
        assert done.status == 2 and not out.exists()
        assert done.err.startswith(f"bnn: error: {model}: the process that loads it was ended by {name}; ")
        assert words in done.err

    def test_ended_without_a_result(self, call: Any, model: Path, out: Path, when_loading: Any) -> None:
        when_loading("import os; os._exit(0)")
        done = call("compile", model, "-o", out)
        assert done.status == 2 and "ended (status 0) without a result" in done.err

    @linux
    @pytest.mark.parametrize("command", ["compile", "verify"])
    def test_an_interrupt_ends_both(
        self, model: Path, net: Path, tmp_path: Path, when_loading: Any, command: str
    ) -> None:
        """As a terminal does it: the signal goes to both processes."""
        when_loading(f"open({str(tmp_path / 'begun')!r}, 'w')\nwhile True: pass")
        arguments = [command, str(model), *([str(net)] if command == "verify" else [])]
        begun = time.monotonic()
        process = start(arguments, tmp_path)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
        assert time.monotonic() - started < 1 + 2 * (started - begun)  # it is not waited for
        assert process.returncode == 130 and err == b"bnn: interrupted\n"
        assert gone(str(model))

    @linux
    def test_the_child_dies_with_its_parent(self, model: Path, tmp_path: Path, when_loading: Any) -> None:
        when_loading(f"open({str(tmp_path / 'begun')!r}, 'w')\nwhile True: pass")
        process = start(["compile", str(model)], tmp_path)
        process.kill()
        process.wait()
        assert gone(str(model))

    def test_its_temporary_files_are_removed(
        self, call: Any, model: Path, out: Path, tmp_path: Path, when_loading: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(apart.tempfile, "tempdir", str(temporary))
        when_loading(
            "import os, signal, tempfile\n"
            "os.write(tempfile.mkstemp()[0], b'left'); print(tempfile.gettempdir(), flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = call("compile", model, "-o", out)
        assert Path(done.out.strip()).parent == temporary and not list(temporary.iterdir())

    def test_what_it_prints_is_printed(self, call: Any, model: Path, out: Path, when_loading: Any) -> None:
        when_loading("import bnn; print('before'); raise bnn.InputError('enough')")
        done = call("compile", model, "-o", out)
        assert (done.status, done.out, done.err) == (2, "before\n", "bnn: error: enough\n")


def start(arguments: list[str], folder: Path) -> Any:
    """The command in a session of its own, once it loads the model."""
    paths = [os.environ["PYTHONPATH"], str(Path(bnn.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bnn", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        env=environment, start_new_session=True,
    )  # fmt: skip
    while not (folder / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


ERRORS = [getattr(errors, name) for name in dir(errors) if name.endswith("Error")]


class TestErrors:
    @pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
    def test_they_cross_as_themselves(self, kind: type[BaseException]) -> None:
        if not issubclass(kind, errors.BnnError):
            pytest.skip("not of this package")
        error = kind("layer '\udc80': \u00e9: found 1, expected 2")
        if isinstance(error, OSError):
            error.errno = 13
        found = over(error)
        assert type(found) is kind and str(found) == str(error) and getattr(found, "errno", 13) == 13

    def test_others(self) -> None:
        class OwnError(errors.UnsupportedOpError):
            """Of another module."""

        assert type(over(OwnError("no"))) is errors.UnsupportedOpError
        found = over(PermissionError(13, "Permission denied", "somewhere"))
        assert type(found) is PermissionError and found.filename == "somewhere"
        assert "no such key" in str(over(KeyError("no such key")))
        assert not isinstance(over(KeyError("no such key")), (errors.BnnError, OSError))

    def test_a_bug_is_told_with_both_tracebacks(
        self, model: Path, when_loading: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        when_loading("raise KeyError('deep down')")
        assert bnn.cli.main(["compile", str(model), "-o", "net.bnn"]) == 2
        err = capfd.readouterr().err
        assert "sitecustomize.py" in err and "KeyError: 'deep down'" in err and "this is a bug of bnn" in err

    def test_debug_shows_where(self, model: Path, when_loading: Any, capfd: pytest.CaptureFixture[str]) -> None:
        when_loading("import bnn; raise bnn.CompileError('deep down')")
        assert bnn.cli.main(["--debug", "compile", str(model), "-o", "net.bnn"]) == 2
        err = capfd.readouterr().err
        assert "sitecustomize.py" in err and err.splitlines()[-1] == "bnn: error: deep down"


def over(error: Exception) -> Exception:
    """An error as it arrives on the other side."""
    try:
        raise error
    except Exception as raised:
        sent = json.loads(json.dumps(child._described(raised)))
    return apart._error("model", Limits(0, 0), sent)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with modules that nobody may import."""
    folder = tmp_path / "elsewhere"
    (folder / "bnn").mkdir(parents=True)
    for name in ("json", "struct", "ctypes", "tensorflow", "numpy", "bnn/__init__"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    yield tmp_path / "harm"


def test_modules_in_the_current_folder_are_not_imported(
    call: Any, model: Path, out: Path, elsewhere: Path, when_loading: Any
) -> None:
    assert "" not in sys.path and os.getcwd() not in sys.path
    when_loading("import bnn; raise bnn.InputError('enough')")
    assert call("compile", model, "-o", out).err == "bnn: error: enough\n"
    assert not elsewhere.exists()


def test_the_parent_imports_no_tensorflow(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from bnn.cli import main; main(['compile', sys.argv[1], '-o', sys.argv[2]]);"
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'h5py'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path / "net.bnn")]
    done = subprocess.run(command, cwd=Path(bnn.__file__).parents[1], capture_output=True, text=True)
    assert done.stdout == "[]\n", done


def test_a_reader_that_goes_away_ends_the_child(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone_away(_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(apart, "_START", STARTS_AND_WAITS)
    with pytest.raises(BrokenPipeError):
        run_apart("compile", str(model), Limits(0, 60), {"working": gone_away})
    assert gone(str(model))


STARTS_AND_WAITS = """
import json, sys, time
sys.path[:] = sys.argv[2:]
from bnn.cli.child import Answers
Answers(json.loads(sys.argv[1])["pipe"], 60).send("working")
time.sleep(600)
"""
