"""Decode only what a sampled frame needs, by PyAV. The same pixels as ffmpeg's, less work.

About one frame of fifty is sampled, so most decoding is wasted. Two kinds of H.264 packets are
skipped: pictures that no other picture refers to, unless they are sampled, and the rest of a group
of pictures after its last sample. Any other stream is left to ffmpeg, by an error that says why.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from fractions import Fraction
from itertools import accumulate, chain, compress, repeat
from pathlib import Path
from typing import Any

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hlclip.formats import Clips, Header
from hlclip.video.clip_times import thresholds
from hlclip.video.container import MOST_SECONDS, open_video, standing_clips, video_stream
from hlclip.video.h264_headers import UnsuitedError
from hlclip.video.h264_packets import Packet, nearest, read_packets
from hlclip.video.refusals import VideoError
from hlclip.video.workers import work_of_thread

Filters = list[tuple[str, dict[str, str]]]
"""Name and options of ffmpeg's filters, in their order."""

Look = tuple[Any, ...]
"""What the filters depend on besides the frames' header: size, format and colours of a picture."""

Confirm = Callable[[Look, NDArray[np.uint8]], None]
"""Raises UnsuitedError unless ffmpeg makes this frame from a picture that looks so."""

_MOST_PIXELS = 4096 * 2304
"""Limit on a picture. Larger ones are left to ffmpeg, whose process has a limit on its memory."""


def sampled_frames(
    path: Path, header: Header, *, clips: Clips | None = None, confirm: Confirm
) -> Generator[NDArray[np.uint8], None, None]:
    """The frames of `extract_frames` one after another, pixel for pixel.

    Args:
        clips: as in `extract_frames`.
        confirm: gets the first frame; see `Confirm`.

    Yields:
        uint8 [height, width, RGB], 0..255.

    Raises:
        UnsuitedError: not an H.264 stream of one size with time stamps, damaged, or too long.
            The frames that were given before are right.
    """
    try:
        packets, offset, unit = read_packets(path)
        clips = clips or float(header["clip_seconds"])
        clip_pts = _pictures_at_middles(packets, offset, unit, clips)
        if not clip_pts:
            raise UnsuitedError("no frame")
        if standing_clips(path, len(clip_pts), clips):
            raise UnsuitedError("the last picture stands longer than a clip")
        sampled = frozenset(clip_pts)
        clips_of = Counter(clip_pts)
        with closing(_decode(path, packets, sampled, header, confirm)) as pictures:
            for pts, frame in pictures:
                yield from repeat(frame, clips_of[pts])
    except VideoError as error:
        raise UnsuitedError(str(error)) from error


def _pictures_at_middles(
    packets: list[Packet], offset: int, unit: Fraction, clips: Clips
) -> list[int]:
    """For each clip the time stamp of the picture at its middle, as in ffmpeg's `fps` filter."""
    shown = sorted(packets, key=lambda packet: packet.pts)
    # Step 1: the filter rounds the start of each picture, and the end of the last, to whole clips.
    # Clips of given times are counted instead, with ffmpeg's arithmetic (see `clip_times`).
    stamps = [packet.pts - offset for packet in shown]
    stamps.append(stamps[-1] + shown[-1].duration)
    if stamps[-1] * unit > MOST_SECONDS:
        raise UnsuitedError("longer than any video may be")
    if not isinstance(clips, tuple):
        clip = Fraction(str(clips))
        *starts, end = [nearest(stamp * unit / clip) for stamp in stamps]
    else:
        too_late, second = thresholds(clips), unit.numerator / unit.denominator
        *starts, end = [bisect_right(too_late, stamp * second) for stamp in stamps]
    # Step 2: a picture fills the clips from its start to the next picture's, so of several that
    # start in one clip the last is sampled. The first one sampled also fills the clips before it.
    clip_pts: list[int] = []
    for packet, start, stop in zip(shown, starts, [*starts[1:], end], strict=True):
        if stop > start:
            clip_pts += [packet.pts] * (stop - len(clip_pts))
    return clip_pts


def needed_packets(packets: list[Packet], sampled: frozenset[int]) -> list[bool]:
    """Which packets to decode so that the sampled pictures are the same as if all were decoded."""
    needed = [False] * len(packets)
    sample_follows = False
    # Backwards, because a packet is needed for the sake of those after it.
    for place, packet in reversed(list(enumerate(packets))):
        # Step 1: sampled pictures are needed, and from here on the references before them.
        sample_follows |= packet.pts in sampled
        # Step 2: any reference picture may be referred to; a disposable one never is.
        needed[place] = packet.pts in sampled or (sample_follows and packet.kind != "disposable")
        # Step 3: nothing from an IDR picture on refers to anything before it.
        if packet.kind == "idr":
            sample_follows = False
    needed[0] = True  # its parameters may hold for all others
    return needed


def _decode(
    path: Path, packets: list[Packet], sampled: frozenset[int], header: Header, confirm: Confirm
) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
    """Decode the needed packets; time stamp and frame of each sampled picture."""
    needed = needed_packets(packets, sampled)
    certain = _certain_from(compress(packets, needed))
    expected = iter(sorted(certain))
    held: deque[tuple[int, NDArray[np.uint8]]] = deque()
    with open_video(path) as container:
        stream = video_stream(container)
        stream.thread_count = 1
        # Any damage is an error here, because ffmpeg conceals it with pixels of its choice.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(_MOST_PIXELS)}
        graph: Graph | None = None
        look: Look = ()
        encoded = (packet for packet in container.demux(stream) if packet.size)
        # None at the end: the decoder gives the pictures that it still holds.
        work = work_of_thread()
        for packet in chain(compress(encoded, needed), [None]):
            work.check()
            for picture in stream.codec_context.decode(packet):
                pts = next(expected, None)
                if pts is None or pts != picture.pts:
                    raise UnsuitedError("pictures are lost, or come in another order")
                # Some damage is concealed without an error.
                if picture.is_corrupt or picture.interlaced_frame or picture.rotation:
                    raise UnsuitedError("a picture is damaged, interlaced or rotated")
                if pts in sampled:
                    first = graph is None
                    if graph is None:
                        graph, look = _filter_graph(stream, picture, header), _look(stream, picture)
                    if _look(stream, picture) != look:
                        raise UnsuitedError("size or pixel format change")
                    graph.vpush(picture)
                    scaled: Any = graph.vpull()
                    frame = scaled.to_ndarray()
                    if first:
                        confirm(look, frame)
                    held.append((pts, frame))
                while held and certain[held[0][0]] <= pts:
                    yield held.popleft()
    if next(expected, None) is not None:
        raise UnsuitedError("pictures are lost")


def _certain_from(decoded: Iterable[Packet]) -> dict[int, int]:
    """For each picture the latest time stamp of it and of all that were decoded before it.

    When that one is shown and none was damaged, no picture that this one refers to was.
    """
    stamps = [packet.pts for packet in decoded]
    return dict(zip(stamps, accumulate(stamps, max), strict=True))


def _filter_graph(stream: VideoStream, first: VideoFrame, header: Header) -> Graph:
    """The filters between a decoded picture that looks like `first` and a frame."""
    aspect = stream.sample_aspect_ratio or Fraction(0)  # 0 is unknown
    source = {
        "video_size": f"{first.width}x{first.height}",
        "pix_fmt": first.format.name,
        "time_base": str(stream.time_base),
        "pixel_aspect": f"{aspect.numerator}/{aspect.denominator}",
        "colorspace": str(int(first.colorspace)),
        "range": str(int(first.color_range)),
    }
    graph = Graph()
    filters = [("buffer", source), *scaling(header), ("buffersink", {})]
    nodes: list[Any] = [graph.add(name, **options) for name, options in filters]
    graph.link_nodes(*nodes).configure()
    return graph


def scaling(header: Header) -> Filters:
    """ffmpeg's filters from a decoded picture to a frame."""
    size = str(header["size"])
    if header["resize"] == "shortest":
        # Pixels need not be square. Multiply first: `64/(iw/ih)` would round twice.
        width = f"if(lt(iw*sar,ih),{size},trunc({size}*iw*sar/ih))"
        height = f"if(lt(iw*sar,ih),trunc({size}*ih/(iw*sar)),{size})"
    else:
        width = height = size
    return [
        ("scale", {"w": width, "h": height, "flags": str(header["interpolation"])}),
        ("format", {"pix_fmts": "rgb24"}),
        ("crop", {"w": size, "h": size}),
    ]


def _look(stream: VideoStream, picture: VideoFrame) -> Look:
    colours = picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc
    return picture.width, picture.height, picture.format.name, stream.sample_aspect_ratio, *colours
