"""`python -m hlclip`, where the command itself is not on PATH."""

from hlclip.cli import main

main()
