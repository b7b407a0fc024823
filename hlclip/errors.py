"""What a user can put right."""


class HlclipError(ValueError):
    """Input, parameters or files are not what hlclip needs.

    The message says what was expected, what came, where, and what to do. Commands print it without
    a traceback; any other exception is a bug and keeps its own.
    """
