"""The moments of a query as a timeline for an editing program: OpenTimelineIO, XML and EDL.

A timeline holds the moments in the order of time, end to end. Each moment is a clip of the video
file itself, so an editor can lengthen it at both ends, and has a marker with its rank, score and
rating. Times are whole frames.
"""

import logging
import re
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlclip.highlights.media import Media
from hlclip.highlights.moments import Moment
from hlclip.highlights.output import Answer
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from opentimelineio.opentime import RationalTime
    from opentimelineio.schema import Clip, Timeline

log = logging.getLogger(__name__)

_MOST_EVENTS = 999
"""An edit of an EDL has a number of three digits."""

_UNWRITABLE = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML has no letters for: control characters, bytes of a name that are not text."""


def otio(answer: Answer, media: Media) -> str:
    """The timeline in OpenTimelineIO's own format, with one track of sound.

    Raises:
        HlclipError: OpenTimelineIO is not installed.
    """
    timeline = _timeline(answer, media, sounds=min(1, media.channels))
    return _library().adapters.write_to_string(timeline, "otio_json") + "\n"


def xml(answer: Answer, media: Media) -> str:
    """The timeline in XML of Final Cut Pro 7, with a track for each of two channels of sound.

    Raises:
        HlclipError: see `otio`.
    """
    timeline = _timeline(answer, media, sounds=min(2, media.channels))
    drop = "DF" if _drops(media) else "NDF"
    size = {"width": str(media.width), "height": str(media.height)}
    for number, track in enumerate(timeline.tracks):
        for clip in track:
            # What OpenTimelineIO has no names for: the size of the pictures, whether the file has
            # sound and which channel of it a track plays, and how the time code counts.
            kinds: dict[str, Any] = {"video": {"samplecharacteristics": size}}
            if media.channels:
                kinds["audio"] = {"channelcount": str(media.channels)}
            clip.media_reference.metadata["fcp_xml"] = {
                "media": kinds,
                "timecode": {"displayformat": drop},
            }
            for marker in clip.markers:  # the adapter counts markers from the start of the file
                span = marker.marked_range
                begin = clip.media_reference.available_range.start_time
                marker.marked_range = type(span)(span.start_time - begin, span.duration)
            if number:
                source = {"mediatype": "audio", "trackindex": str(number)}
                clip.metadata["fcp_xml"] = {"sourcetrack": source}
    return _library().adapters.write_to_string(timeline, "fcp_xml")


def edl(answer: Answer, media: Media) -> str:
    """The timeline as an edit decision list, CMX 3600.

    The adapter of OpenTimelineIO writes neither how the time code counts nor sound, so these lines
    are written here. The reel is `AX`, the name for a file; the file's name is in a comment.

    Raises:
        HlclipError: there are more than 999 moments; and see `otio`.
    """
    timeline = _timeline(answer, media, sounds=0)
    clips: list[Clip] = list(timeline.video_tracks()[0])
    if len(clips) > _MOST_EVENTS:
        reason = f"an EDL holds {_MOST_EVENTS} moments, got {len(clips)}"
        raise HlclipError(reason, "lower --top, or export otio")
    drop, day = _drops(media), _frames_of_a_day(media)
    channels = ("V", "B")[media.channels] if media.channels < 2 else "AA/V"
    title = _line(answer.label)
    lines = [f"TITLE: {title[:70]}", f"FCM: {'' if drop else 'NON-'}DROP FRAME"]

    def timecode(time: "RationalTime") -> str:
        # A recording may pass midnight, where the time code begins again.
        # Whole rates where every frame counts: OpenTimelineIO ends a day of 29.97 frames early.
        rate = time.rate if drop else round(time.rate)
        return type(time)(time.value % day, rate).to_timecode(rate, drop_frame=drop)

    for number, clip in enumerate(clips, start=1):
        used, shown = clip.trimmed_range(), clip.range_in_parent()
        times = [used.start_time, used.end_time_exclusive()]
        times += [shown.start_time, shown.end_time_exclusive()]
        codes = " ".join(map(timecode, times))
        lines += ["", f"{number:03}  {'AX':8} {channels:5} C        {codes}"]
        lines += [f"* FROM CLIP NAME: {_line(answer.curve.video.name)}"]
        lines += [f"* LOC: {timecode(shown.start_time)} RED     {clip.markers[0].name}"]
    return "\n".join(lines) + "\n"


def _timeline(answer: Answer, media: Media, *, sounds: int) -> "Timeline":
    schema = _library().schema
    timeline = schema.Timeline(name=f"{answer.vid}: {_line(answer.label)}")
    kinds = [schema.TrackKind.Video] + [schema.TrackKind.Audio] * sounds
    names = ["V1", "A1", "A2"]
    for name, kind in zip(names, kinds, strict=False):
        track = schema.Track(name=name, kind=kind)
        ranked = enumerate(answer.moments, start=1)
        for rank, moment in sorted(ranked, key=lambda each: each[1].start_seconds):
            clip = _clip(answer, rank, moment, media)
            if kind == schema.TrackKind.Audio:
                clip.markers.clear()  # the picture has them
            track.append(clip)
        timeline.tracks.append(track)
    return timeline


def _clip(answer: Answer, rank: int, moment: Moment, media: Media) -> "Clip":
    library = _library()
    schema, opentime = library.schema, library.opentime
    rate, begin, curve = float(media.rate), _first_frame(media, answer.curve.video), answer.curve

    def span(start: float, end: float) -> Any:
        first, stop = (round(Fraction(seconds) * media.rate) for seconds in (start, end))
        return opentime.TimeRange(
            opentime.RationalTime(begin + first, rate),
            opentime.RationalTime(max(stop - first, 1), rate),
        )

    used = span(moment.start_seconds, moment.end_seconds)
    file = schema.ExternalReference(curve.video.absolute().as_uri(), span(0, curve.duration))
    file.name = curve.video.name
    name = f"{rank} {_line(answer.label)}"
    label = f"{name}: {moment.score:.4f} {moment.worth}".rstrip()
    facts = {"query": curve.query, "rank": rank, "score": moment.score}
    if moment.rating is not None:
        facts |= {"rating": moment.rating, "very_good": moment.very_good}
    first = opentime.TimeRange(used.start_time, opentime.RationalTime(1, rate))
    marker = schema.Marker(name=label, marked_range=first, color=schema.MarkerColor.RED)
    return schema.Clip(name, file, used, metadata={"hlclip": facts}, markers=[marker])


@cache  # of each clip of each query; a warning is said once
def _first_frame(media: Media, video: Path) -> int:
    """Number of the frame at which the time code of the file begins."""
    if not media.timecode:
        return 0
    try:
        time = _library().opentime.from_timecode(media.timecode, float(media.rate))
    except ValueError:
        what = "not understood, so times count from 0"
        log.warning("%s: time code %s: %s", video, media.timecode, what)
        return 0
    return round(time.value)


def _frames_of_a_day(media: Media) -> int:
    last = f"23:59:59{';' if _drops(media) else ':'}{round(media.rate) - 1:02}"
    return round(_library().opentime.from_timecode(last, float(media.rate)).value) + 1


def _drops(media: Media) -> bool:
    """Whether time codes leave out numbers to keep up with the clock (drop frame).

    Those of 29.97 and 59.94 frames per second do, unless the file counts otherwise.
    """
    counts = media.rate.denominator > 1 and round(media.rate) in (30, 60)
    return counts and (not media.timecode or ";" in media.timecode)


def _line(text: str) -> str:
    return " ".join(_UNWRITABLE.sub(" ", text).split())


def _library() -> Any:
    try:
        import opentimelineio  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise HlclipError(
            "--export otio, xml and edl need OpenTimelineIO", "pip install 'hlclip[editor]'"
        ) from error
    return opentimelineio
