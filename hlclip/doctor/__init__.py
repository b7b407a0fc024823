"""What would stop a run, and what the run will cost.

checks      everything that a run needs, cheap things first
machine     ffmpeg, git, DVC, device and store
forecast    disk from the shapes, time and memory from a few videos
finding     one thing that was looked at
"""

from hlclip.doctor.checks import examine
