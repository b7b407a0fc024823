"""A refusal of the system is no evidence against a file: what cannot be read is named and stays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hlclip.store.store import Store
from tests.stored import files, put

READER = """
import sys
from pathlib import Path
import numpy as np
from hlclip.formats import Item
from hlclip.store import Store, StoreUnreadableError

root, key, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
refused = 0
for _ in range(40):
    store = Store(root, "images", {"size": 4})
    try:
        item = store.get_or_make(key, lambda: np.zeros((3, 4), np.float32))
        array = store.read(item)
    except StoreUnreadableError as error:
        assert "cannot be read: Input/output error" in error.reason, error
        assert "the disk or the connection to it is failing" in error.remedy()
        refused += 1
    else:
        assert item == Item(key, digest, 3) and array.sum() == 66
print(refused)
"""


@pytest.mark.parametrize("call", ["read", "pread64", "openat", "fstat"])
def test_a_disk_that_fails_now_and_then_costs_no_item(tmp_path: Path, call: str) -> None:
    store = Store(tmp_path, "images", {"size": 4})
    item = store.get_or_make("ab12", lambda: np.arange(12, dtype=np.float32).reshape(3, 4))
    path = store.path(item.key)
    identity, content = path.stat().st_ino, path.read_bytes()
    # Every seventh call fails: in turn each of those that one reading makes.
    fault = [
        *strace(),
        "-P",
        path,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EIO:when=3+7",
    ]
    command = [*fault, sys.executable, "-c", READER, tmp_path, item.key, item.digest]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert (path.stat().st_ino, path.read_bytes()) == (identity, content)


VERIFY = """
import os, resource, sys
import hlclip.maintenance, hlclip.cli
from tests.disks import be_bound_by_permissions

if sys.argv[1] == "files":
    most = len(os.listdir("/proc/self/fd")) + 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
else:
    be_bound_by_permissions()
hlclip.cli.app(["store", "verify", "--remove", "--yes"])
"""


@pytest.mark.parametrize("fault", ["permission", "files"])
def test_what_the_system_refuses_to_read_is_not_removed(tmp_path: Path, fault: str) -> None:
    root = tmp_path / "store"
    for n in range(24):
        put(root, "images", f"v{n}")
    every = files(root)
    if fault == "permission":
        for path in every:
            path.chmod(0)  # as a file of mode 600 is for another user
    environment = {**os.environ, "HLCLIP_STORE": str(root), "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, fault],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert files(root) == every, done.stdout
    assert "damaged: " not in done.stdout
    if fault == "permission":
        assert done.returncode == 1
        assert "0 files are whole, 0 damaged, 24 unreadable" in done.stdout
        assert done.stdout.count("unreadable, never deleted: ") == 24
        assert "Permission denied; give your user the right to it" in done.stdout


def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    fault = [*strace(), "-e", "trace=flock", "-e", "inject=flock:error=ENOSYS"]
    code = (
        "import sys; from pathlib import Path\n"
        "from hlclip.store import holding; from hlclip.system import print_error\n"
        "try:\n"
        "    with holding(Path(sys.argv[1])): pass\n"
        "except OSError as error: sys.exit(print_error(error, status=2))"
    )
    command = [*fault, sys.executable, "-c", code, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    reason, remedy = done.stderr.splitlines()
    assert reason == f"{tmp_path}/store/in-use.lock: Function not implemented"
    assert remedy.startswith("its file system has no locks (flock): mount it with locks, or")


def strace() -> list[str]:
    """strace, where it is installed and may trace."""
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-qq", "true"], check=False).returncode:
        pytest.skip("no strace, or it may not trace processes here")
    return [program, "-f", "-qq", "-o", "/dev/null"]
