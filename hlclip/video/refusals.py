"""A video that cannot be used, and a file that the system refuses to read: not the same."""

import errno

from av.error import FFmpegError

from hlclip.system import HlclipError, system_remedy


class VideoError(HlclipError):
    """A file is not a video that can be used; the message says why."""


class VideoUnreadableError(VideoError):
    """The system refuses to read a file, for now; it may be a whole video.

    A stage ends with it, whatever share of videos may be missing: DVC would never run the stage
    again for a file that has not changed.
    """


REFUSALS = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENETDOWN),
    *(errno.EMFILE, errno.ENFILE),
)
"""Errors of a disk, of a connection to it, or of the limit on open files. libav gives ENOMEM for
files that claim too much, too, so it is not among them."""


def unreadable(error: OSError | FFmpegError) -> VideoError:
    """The error for a file that the system refuses to open or read."""
    reason = f"cannot be read ({error.strerror or error})"
    if error.errno in REFUSALS:
        return VideoUnreadableError(reason, system_remedy(error.errno))
    return VideoError(reason)
