"""A process that ends at once ends as any other: same status, all output, nothing left over."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from hlclip.system import quick_process

class Torn:
    def __del__(self):
        print("taken apart", flush=True)

with quick_process():
    import atexit, threading, time
    torn = Torn()
    atexit.register(print, "registered")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("work")
    {body}
"""


def ended(body: str, redirected: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            "sh",
            "-c",
            f'exec "$@" {redirected}',
            "sh",
            sys.executable,
            "-c",
            PROGRAM.format(body=body),
        ],
        text=True,
        check=False,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [("pass", 0), ("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 3), ("exit(True)", 1)],
)
def test_all_is_written_and_nothing_taken_apart(body: str, status: int) -> None:
    process = ended(body)
    assert process.returncode == status
    assert process.stdout == "work\nthread\nregistered\n"
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("body", "message"), [("sys.exit('a word')", "a word\n"), ("1 / 0", "ZeroDivisionError")]
)
def test_python_reports_other_endings(body: str, message: str) -> None:
    process = ended(body)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stdout == "work\nthread\nregistered\ntaken apart\n"


def test_output_that_cannot_be_written_is_an_error() -> None:
    process = ended("pass", ">/dev/full")
    assert process.returncode != 0
    assert "No space left on device" in process.stderr


def test_a_closed_output_is_none_at_all() -> None:
    process = ended("sys.exit(3)", ">&-")
    assert (process.returncode, process.stderr) == (3, "")
