"""The base of every wing: errors, whole files, locks, disk, memory, start-up.

errors     HlclipError, the tree of all errors, and how a process that meets one ends
files      write files whole or not at all; locks between processes
git        what git says of a folder
disk       free space, folders, the errors of a disk
process    memory, and a faster start and end of a process that loads torch
"""

from hlclip.system.disk import (
    WriteError,
    free_bytes,
    in_words,
    make_folder,
    nearest_folder,
    require_space,
    same_disk,
)
from hlclip.system.errors import HlclipError, Options, print_error, system_remedy
from hlclip.system.files import (
    as_csv,
    being_written,
    file_state,
    locked,
    naming,
    remove_leftover,
    remove_leftovers,
    replacing,
    sha256_of,
    sole_writer,
    write_json,
    write_table,
    write_whole,
)
from hlclip.system.git import git_output, is_shallow
from hlclip.system.process import (
    exit_on_signals,
    free_host_bytes,
    log_to_stderr,
    memory_bytes,
    peak_bytes,
    quick_process,
)
