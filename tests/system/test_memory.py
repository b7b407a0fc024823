"""Free memory is what the machine, and the control groups of this process, leave."""

import pytest

from hlclip.system import free_host_bytes


def test_free_memory_is_the_machines_or_the_control_groups(tmp_path):
    def write(name: str, content: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    write("proc/meminfo", "MemTotal: 2048 kB\nMemAvailable:    1024 kB\n")
    write("proc/self/cgroup", "0::/\n")
    assert free_host_bytes(tmp_path) == 2**20
    write("sys/fs/cgroup/memory.max", "max\n")
    write("sys/fs/cgroup/memory.current", "900000\n")
    write("sys/fs/cgroup/memory.stat", "anon 500000\ninactive_file 400000\n")
    assert free_host_bytes(tmp_path) == 2**20
    write("sys/fs/cgroup/memory.max", "1000000\n")
    assert free_host_bytes(tmp_path) == 1000000 - 900000 + 400000


@pytest.mark.parametrize("limited", ["", "slurm", "slurm/job/step"])
@pytest.mark.parametrize(
    ("line", "base", "names", "none"),
    [
        ("0::", "", ("max", "current", "inactive_file"), "max"),
        (
            "5:cpu,memory:",
            "memory/",
            ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
            "9223372036854771712",
        ),
    ],
)
def test_free_memory_within_the_groups_of_a_job(tmp_path, line, base, names, none, limited):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    limit, used, files = names
    write("proc/meminfo", "MemAvailable: 1024 kB\n")
    write("proc/self/cgroup", f"7:freezer:/other\n{line}/slurm/job/step\n")
    for group in ("", "slurm", "slurm/job", "slurm/job/step"):
        folder = f"sys/fs/cgroup/{base}{group}"
        write(f"{folder}/memory.{limit}", "1000000\n" if group == limited else f"{none}\n")
        write(f"{folder}/memory.{used}", "900000\n")
        write(f"{folder}/memory.stat", f"anon 1\n{files} 400000\n")
    assert free_host_bytes(tmp_path) == 500000


def test_free_memory_of_this_machine():
    assert 2**20 < free_host_bytes() < 2**50
