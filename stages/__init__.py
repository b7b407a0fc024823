"""The pipeline's stages: `python -m stages.<stage>`."""

import sys

from hlclip.pipeline.stage import begin

if sys.argv[0] == "-m":  # what Python sets while it looks for the stage
    begin()
