"""What would stop a run, and what the run will cost.

checks      everything that a run needs, cheap checks first
machine     checks of ffmpeg, git, DVC, device and store
forecast    disk space from the shapes, time and memory from a few videos
finding     the result of one check
"""

from hlclip.doctor.checks import examine
