"""One video file: find, hash, probe, decode to frames.

files             vid to file, hashed and probed once
refusals          a video that cannot be used; a file that the system refuses to read
container         the header of a video file, and which files are opened at all
frames            one RGB frame per clip
clip_times        the middles of clips that have times of their own
pyav_frames       the same frames with less decoding
h264_packets      which pictures of an H.264 stream others refer to
h264_headers      whether the headers of these pictures are whole
ffmpeg_process    ffmpeg with limits on its time and memory
workers           threads that decode, and stop when their caller is interrupted
"""

from hlclip.video.container import (
    check_plain,
    has_time_stamps,
    late_seconds,
    open_video,
    picture_name,
    probe,
    second_zero,
    sound_stream,
    video_stream,
)
from hlclip.video.ffmpeg_process import FFmpegProcess, ffmpeg_executable, video_input
from hlclip.video.files import (
    HASHES,
    DataError,
    VideoChangedError,
    VideoFile,
    find_videos,
    indexed_video,
    inspect_videos,
    read_hashes,
)
from hlclip.video.frames import (
    Decoder,
    clip_source,
    extract_frames,
    frames_header,
    stream_clips,
    stream_frames,
)
from hlclip.video.pyav_frames import Filters
from hlclip.video.refusals import VideoError, VideoUnreadableError
from hlclip.video.workers import worker_threads
