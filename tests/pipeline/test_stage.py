"""A stage ends with a line and a status, is alone in its folder, and does not outlive its run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("index", "frames", "score", "evaluate")

PROGRAM = """
import sys, time
from pathlib import Path
from hlclip.system.files import replacing
from hlclip.pipeline.stage import run

def main():
    print("started", flush=True)
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        {body}

run(main)
"""
WAITS = "sys.stdin.readline()"


def stage(
    folder: Path, body: str = WAITS, out: str = "out", **environment: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body), out],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".hlclip")


def test_the_lock_is_the_next_ones_when_its_holder_is_done(tmp_path: Path) -> None:
    first = stage(tmp_path, out="first")
    started(first)
    second = stage(tmp_path, "pass", out="second")
    assert second.stderr is not None
    said = second.stderr.readline()
    assert f"waiting for -c (process {first.pid}), which runs in this folder" in said
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.4)
    assert "second" not in left(tmp_path)
    first.communicate("\n", timeout=30)
    second.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (0, 0)
    assert left(tmp_path) == ["first", "second"]


def test_the_lock_of_a_killed_stage_is_free(tmp_path: Path) -> None:
    first = stage(tmp_path)
    started(first)
    first.kill()
    first.communicate()
    _, said = stage(tmp_path, "pass").communicate(timeout=30)
    assert said == ""
    assert left(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals, status: int) -> None:
    process = stage(tmp_path)
    started(process)
    time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == status
    assert len(said.splitlines()) == (1 if number == signal.SIGINT else 0)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_error_while_a_signal_ends_it_hides_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    # It comes right after rmtree's os.close: Python 3.11 then closes the same file again.
    body = f"""
        import os, shutil, signal
        os.makedirs("folder/inner")
        os_close = os.close
        def close(file):
            os.close = os_close
            os.close(file)
            signal.raise_signal({number.value})
        os.close = close
        shutil.rmtree("folder")
    """
    process = stage(tmp_path, body.strip())
    _, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    assert len(said.splitlines()) == (1 if number == signal.SIGINT else 0), said
    assert "out" not in left(tmp_path)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_exit_that_compiled_code_turns_into_an_error_is_the_exit(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    # As pydantic does while a module is imported: its error does not know of the exit.
    body = f"""
        import signal
        try:
            signal.raise_signal({number.value})
        except BaseException:
            pass
        raise RuntimeError("Error building a validator: SystemExit")
    """
    process = stage(tmp_path, body.strip())
    _, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    assert len(said.splitlines()) == (1 if number == signal.SIGINT else 0), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_on_its_way_out_changes_nothing(tmp_path: Path, number: signal.Signals) -> None:
    leaving = "import atexit; atexit.register(lambda: (print('out', flush=True), time.sleep(0.3)))"
    process = stage(tmp_path, leaving)
    started(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "out\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert left(tmp_path) == ["out"]


def test_an_orphan_ends_cleanly_soon_after_its_run(tmp_path: Path) -> None:
    program = PROGRAM.format(body="time.sleep(60)")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.run(sys.argv[1:])",
            *(sys.executable, "-c", program, "out"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": "frames"},
        stdout=subprocess.PIPE,
        text=True,
    )
    started(parent)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while left(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left(tmp_path) == []
    parent.communicate(timeout=20)  # the orphan held the pipe: it is gone


def test_a_bug_keeps_its_traceback_and_asks_for_a_report(tmp_path: Path) -> None:
    process = stage(tmp_path, "{}['no such key']")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback (most recent call last)" in said
    assert said.splitlines()[-1].startswith("this is a bug of hlclip: please report")


def test_a_traceback_of_bad_input_comes_for_the_asking(tmp_path: Path) -> None:
    for environment, tracebacks in (({}, 0), ({"HLCLIP_DEBUG": "1"}, 1)):
        process = stage(tmp_path, "Path('outputs/none').read_text()", **environment)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert said.count("Traceback") == tracebacks
        what, to_do = said.splitlines()[-2:]
        assert what == "outputs/none: No such file or directory"
        assert "`dvc repro` runs every stage" in to_do


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_without_its_inputs_says_so_in_two_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    ended = subprocess.run(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2
    assert "outputs/" in ended.stderr or "data.root" in ended.stderr
    assert not list(tmp_path.rglob("*.tmp"))
