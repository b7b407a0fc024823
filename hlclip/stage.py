"""How a DVC stage runs: log lines on the terminal, errors without a traceback."""

import logging
import sys
from collections.abc import Callable

from hlclip.errors import HlclipError


def run(main: Callable[[], None]) -> None:
    """Run a stage; exit status 1 and the message on stderr when the user can put it right."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hlclip").setLevel(logging.INFO)
    try:
        main()
    except HlclipError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what is finished is kept, the next run goes on from there")
