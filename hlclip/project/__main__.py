"""`python -m hlclip.project STAGE`: run a stage in a project, which holds no code of its own."""

import runpy
import sys

from hlclip.formats import check_version
from hlclip.project.shipped import shipped
from hlclip.system import HlclipError, print_error


def main() -> None:
    """Run the entry file of the stage that the command line names.

    A stage of another version than the project's would mix outputs of two versions, so it ends
    before it begins.
    """
    entries = {path.stem: path for path in shipped("stages").glob("[a-z]*.py")}
    if len(sys.argv) != 2 or sys.argv[1] not in entries:
        sys.exit(f"usage: python -m hlclip.project {{{','.join(sorted(entries))}}}")
    try:
        check_version()
    except (HlclipError, OSError) as error:
        sys.exit(print_error(error, status=1))
    runpy.run_path(str(entries[sys.argv[1]]), run_name="__main__")


if __name__ == "__main__":
    main()
