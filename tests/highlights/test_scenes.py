"""Ends of moments at cuts of the video."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hlclip.highlights import Curve, Moment, scenes
from hlclip.highlights.scenes import find_cuts, snapped
from hlclip.video import VideoError
from tests.films import ffmpeg, film

SHOTS = ("testsrc2", "mandelbrot=start_scale=1", "smptebars", "rgbtestsrc")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shots of 2.6, 3.1, 4 and 2.3 seconds, ten frames a second."""
    path = tmp_path_factory.mktemp("shots") / "v.mp4"
    inputs: list[object] = []
    for source, seconds in zip(SHOTS, (2.6, 3.1, 4, 2.3), strict=True):
        joint = ":" if "=" in source else "="
        inputs += ["-f", "lavfi", "-t", seconds, "-i", f"{source}{joint}s=96x64:r=10"]
    ffmpeg(*inputs, "-filter_complex", "concat=n=4", "-pix_fmt", "yuv420p", path)
    return path


def curve(video: Path, clips: int = 6) -> Curve:
    return Curve(video, "a dog", np.zeros(clips, np.float32), 2.0 * clips, 2.0)


def moment(start: float, end: float) -> Moment:
    return Moment(start, end, 0.5, range(int(start // 2), int(-(-end // 2))))


def spans(moments: list[Moment]) -> list[tuple[float, float]]:
    return [(moment.start_seconds, moment.end_seconds) for moment in moments]


def test_cuts_are_found_to_the_frame(shots: Path) -> None:
    assert find_cuts(shots) == pytest.approx([2.6, 5.7, 9.7])


def test_times_count_from_a_late_start(shots: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg("-i", shots, "-c", "copy", "-output_ts_offset", 7, late)
    assert find_cuts(late) == pytest.approx([2.6, 5.7, 9.7])


def test_a_shot_has_no_cuts(tmp_path: Path) -> None:
    assert find_cuts(film(tmp_path / "v.mp4")) == ()


def test_ends_move_to_cuts_less_than_half_a_clip_away(shots: Path) -> None:
    found = snapped(curve(shots), [moment(2, 6), moment(6, 10)], min_seconds=1)
    assert spans(found) == [(pytest.approx(2.6), pytest.approx(5.7)), (pytest.approx(5.7), 9.7)]
    assert [each.clips for each in found] == [range(1, 3), range(3, 5)]  # the frames are the same
    # The cut at 9.7 is too far from 8, and nothing moves the ends of the video.
    assert spans(snapped(curve(shots), [moment(0, 8)], min_seconds=1)) == [(0, 8)]
    assert spans(snapped(curve(shots), [moment(8, 12)], min_seconds=1)) == [(8, 12)]


def test_moments_keep_their_shortest_length(shots: Path) -> None:
    # 2.6 to 5.7 is shorter than 3.2, and so would be 2 to 5.7 than 3.8.
    assert spans(snapped(curve(shots), [moment(2, 6)], min_seconds=3.2)) == [(2, 6)]
    both = snapped(curve(shots), [moment(2, 6), moment(6, 10)], min_seconds=3.9)
    # The end that the two share stays for the first; from there to 9.7 is too short, too.
    assert spans(both) == [(2, 6), (6, 10)]


def test_moments_never_overlap_and_are_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        cuts = tuple(np.sort(random.uniform(0, 40, random.integers(0, 30))).tolist())
        monkeypatch.setattr(scenes, "find_cuts", lambda _, cuts=cuts: cuts)
        edges = 2.0 * np.sort(random.choice(21, 6, replace=False))
        moments = [moment(*edges[at : at + 2]) for at in random.permutation(5)]
        shortest = float(random.choice([0.1, 2, 4]))
        found = snapped(curve(Path("v.mp4"), 20), moments, min_seconds=shortest)
        in_order = sorted(spans(found))
        assert all(end <= start for (_, end), (start, _) in pairwise(in_order))
        for before, after in zip(moments, found, strict=True):
            assert abs(after.start_seconds - before.start_seconds) < 1
            assert abs(after.end_seconds - before.end_seconds) < 1
            length = before.end_seconds - before.start_seconds
            assert after.end_seconds - after.start_seconds >= min(shortest, length)
            assert after.start_seconds in (before.start_seconds, *cuts)


def test_a_video_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match=r"v\.mp4: its cuts are not known \(not readable"):
        find_cuts(path)


def test_damaged_frames_are_left_out(videos_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_cuts(videos_dir / "decord_corrupted.mp4") == ()
    assert "decord_corrupted.mp4: left out 1 damaged packets; cuts there are" in caplog.text


def test_cuts_of_real_footage(footage_dir: Path) -> None:
    cuts = np.array(find_cuts(footage_dir / "videos" / "tears_of_steel_battle.webm"))
    seen = [2.17, 5.08, 9.21, 12.88, 29.79, 32.83, 36.33, 37.54, 41.12, 46.96, 50.12, 51.42]
    assert np.abs(cuts[:, None] - seen).min(axis=0) == pytest.approx(0, abs=0.01)
    assert len(cuts) < 30
