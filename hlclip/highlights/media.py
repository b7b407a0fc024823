"""Facts of a video that a cut needs: its frame rate, its time code, its sound."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer

from hlclip.video import VideoError, open_video, sound_stream, video_stream

_NTSC = Fraction(1000, 1001)
_RATES = (24 * _NTSC, Fraction(24), Fraction(25), 30 * _NTSC, Fraction(30), Fraction(50))
_RATES += (60 * _NTSC, Fraction(60))
"""Frames per second that every container and every editor knows."""

_VARIES = 0.01
"""Share by which the average rate of a video with a constant rate may differ from its rate."""


@dataclass(frozen=True)
class Media:
    """What an editing program is told about a video file."""

    rate: Fraction
    """Frames per second: one of the usual rates, of which the video's own is a part."""
    varies: bool
    """Whether the frames of the video are not evenly spaced."""
    timecode: str
    """Of the first frame as the file gives it, such as `10:00:00:00`; empty if it has none."""
    width: int
    height: int
    channels: int
    """Of sound; 0 is no sound."""


def read_media(video: Path) -> Media:
    """Read the header of a video; nothing is decoded.

    Raises:
        VideoError: it cannot be opened.
    """
    try:
        with open_video(video) as file:
            return _media(file)
    except VideoError as error:
        raise VideoError(f"{video}: its frame rate is not known ({error})") from error


def _media(file: InputContainer) -> Media:
    stream, sound = video_stream(file), sound_stream(file)
    guess, average = stream.guessed_rate, stream.average_rate
    # QuickTime's time code is a track of its own, Matroska's names of tags are in capitals.
    holders = [file, stream, *file.streams]
    tags = {key.lower(): tag for each in holders for key, tag in each.metadata.items()}
    codec = stream.codec_context
    return Media(
        rate=usual_rate(guess),
        varies=guess is None or average is None or abs(average / guess - 1) > _VARIES,
        timecode=tags.get("timecode", ""),
        width=codec.width,
        height=codec.height,
        channels=sound.codec_context.channels if sound else 0,
    )


def usual_rate(guess: Fraction | None) -> Fraction:
    """The first of the usual rates that is a multiple of `guess`; the highest for odd rates.

    A picture that stands for long is repeated, so a cut can begin and end while it stands.
    """
    for rate in _RATES:
        repeats = rate / guess if guess else Fraction(1)
        if repeats > 0.999 and abs(repeats - round(repeats)) < 0.0005 * repeats:
            return rate
    return _RATES[-1]
