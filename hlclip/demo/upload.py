"""Check an uploaded video and its queries against the limits, then score them."""

from pathlib import Path

from hlclip.highlights import Curve, Scorer, clock
from hlclip.system import HlclipError
from hlclip.video import VideoError, probe

MAX_QUERIES = 8
"""Most queries of one request."""


def score_upload(
    scorer: Scorer, video: str | None, text: str, *, max_minutes: float
) -> list[Curve]:
    """Saliency of an uploaded video for each line of a text.

    Args:
        video: the uploaded file; None before an upload.
        text: queries, one a line; blank lines and repetitions are ignored.
        max_minutes: longest duration that the header of a video may state.

    Raises:
        HlclipError: the upload cannot be scored; the message shows no path of this machine.
    """
    if video is None:
        raise HlclipError("Upload a video first.")
    queries = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not queries:
        raise HlclipError("Type at least one query: what should the moments show?")
    if len(queries) > MAX_QUERIES:
        raise HlclipError(f"Got {len(queries)} queries, expected at most {MAX_QUERIES} at a time.")
    path = Path(video)
    if not path.is_file():
        raise HlclipError("The video is no longer kept here: upload it again.")
    try:
        seconds = probe(path).duration
        if seconds > max_minutes * 60:
            raise HlclipError(
                f"The video is {clock(seconds)} long, expected at most {max_minutes:g} minutes."
            )
        return scorer.score(path, queries)
    except VideoError as error:
        reason = str(error).removeprefix(f"{path}: ").replace(str(path), path.name)
        raise HlclipError(f"This file cannot be used as a video: {reason}") from error
