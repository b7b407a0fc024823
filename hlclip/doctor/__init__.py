"""What would stop a run, and what the run will cost.

checks      everything that a run needs, cheap checks first
machine     the result of one check; checks of ffmpeg and device
repository  checks of git, DVC and the last run
forecast    disk space from the shapes, time and memory from a few videos
"""

from hlclip.doctor.checks import examine, examine_machine
from hlclip.doctor.machine import Check, Finding
