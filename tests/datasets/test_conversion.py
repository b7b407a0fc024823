"""Published annotations of other data sets become rows; a bad file is named by line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.datasets import PUBLISHED, Conversion
from hlclip.formats.annotations import Annotation, AnnotationError, read_annotations
from hlclip.system.errors import HlclipError
from tests.films import film

CONVERT = {benchmark.name: benchmark.convert for benchmark in PUBLISHED}
MINUTE = 60.0


def minute(_: str) -> float:
    return MINUTE


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "root" / "published"
    folder.mkdir(parents=True)
    return folder


def write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Stand-ins: made-up content in the published formats

DOMAINS = {"VT": ["a1", "a2"], "BK": ["b1", "b2", "b3"]}
SHOTS, ANNOTATORS, FRAMES = 30, 4, 59.3  # frames of a shot


def shots(vid: str) -> np.ndarray:
    """[shots, annotators], 1..5, seldom the same in neighbouring shots."""
    return np.random.default_rng(ord(vid[0]) * 10 + int(vid[1])).integers(1, 6, (SHOTS, ANNOTATORS))


def frames(vid: str) -> np.ndarray:
    """The authors' form: [annotators, frames], with a part of a shot at the end."""
    shot = (np.arange(int(FRAMES * (SHOTS + 0.4))) / FRAMES).astype(int)
    return np.concatenate([shots(vid), shots(vid)[:1]])[shot].T


def tvsum_row(vid: str, domain: str) -> dict[str, Any]:
    row = {"qid": vid, "query": f"Title {vid}", "vid": vid, "domain": domain, "duration": SHOTS}
    return row | {"relevant_windows": None, "label": shots(vid).astype(float).tolist()}


def lighthouse_tvsum(folder: Path) -> None:
    rows = {vid: tvsum_row(vid, domain) for domain, vids in DOMAINS.items() for vid in vids}
    last = {vids[-1] for vids in DOMAINS.values()}
    write(folder / "tvsum_train_release.jsonl", *(r for vid, r in rows.items() if vid not in last))
    write(folder / "tvsum_val_release.jsonl", *(rows[vid] for vid in rows if vid in last))


def tables(folder: Path) -> None:
    length = f"1:{round(FRAMES * (SHOTS + 0.4) / (FRAMES / 2)) - 60:02d}"
    info = ["category\tvideo_id\ttitle\turl\tlength"]
    ratings = []
    for domain, vids in DOMAINS.items():
        for vid in vids:
            info.append(f"{domain}\t{vid}\tTitle {vid}\thttp://x/{vid}\t{length}")
            ratings += [f"{vid}\t{domain}\t{','.join(map(str, line))}" for line in frames(vid)]
    (folder / "ydata-tvsum50-info.tsv").write_text("\n".join(info) + "\n")
    (folder / "ydata-tvsum50-anno.tsv").write_text("\n".join(ratings) + "\n")


def matrices(folder: Path) -> None:
    with h5py.File(folder / "ydata-tvsum50.mat", "w") as file:
        videos = [(vid, domain) for domain, vids in DOMAINS.items() for vid in vids]

        def column(name: str, values: list[np.ndarray]) -> None:
            table = file.create_dataset(f"tvsum50/{name}", (len(values), 1), h5py.ref_dtype)
            for n, value in enumerate(values):
                table[n, 0] = file.create_dataset(f"#refs#/{name}{n}", data=value).ref

        def words(texts: list[str]) -> list[np.ndarray]:
            return [np.array([[ord(letter)] for letter in text], np.uint16) for text in texts]

        column("video", words([vid for vid, _ in videos]))
        column("category", words([domain for _, domain in videos]))
        column("title", words([f"Title {vid}" for vid, _ in videos]))
        column("length", [np.array([[61.0]])] * len(videos))
        column("user_anno", [frames(vid).astype(float) for vid, _ in videos])


def lists(folder: Path) -> None:
    clips = [[0, 100], [50, 150], [100, 200]]
    for domain in ("dog", "skiing"):
        vids = {split: f"{domain[0]}{split}" for split in ("TraiLooseL", "TestTightL")}
        path = folder / domain / "vlist_sel.json"
        for vid in vids.values():
            write(path.parent / vid / "match_label.json").write_text(
                json.dumps([clips, [1, 0, -1]])
            )
        path.write_text(json.dumps([[[vid], split] for split, vid in vids.items()]))


MATCHES = {
    "qid": "v",
    "query": "dog",
    "vid": "v",
    "domain": "dog",
    "duration": 10.0,
    "fps": 30.0,
    "clip": [[0, 100], [50, 150], [200, 303]],
    "match": [-1, 0, 1],
}
FOUND = {"qid": 1, "query": "he runs", "vid": "v", "duration": 9.7, "relevant_windows": [[1, 2.5]]}


def lighthouse_youtube(folder: Path, **change: Any) -> None:
    write(folder / "youtube_highlight_train_release.jsonl", MATCHES | change)
    other = {"qid": "w", "vid": "w", "domain": "skiing", "query": "skiing"}
    write(folder / "youtube_highlight_val_release.jsonl", MATCHES | other)


# What is made of them


def by_vid(conversion: Conversion, name: str) -> dict[str, Annotation]:
    return {row.vid: row for row in conversion.files[name]}


@pytest.mark.parametrize("source", [lighthouse_tvsum, tables, matrices])
def test_tvsum(published: Path, source: Callable[[Path], None]) -> None:
    source(published)
    conversion = CONVERT["tvsum"](published, minute)
    rows = by_vid(conversion, "zero-shot/test.jsonl")
    assert {vid: row.domain for vid, row in rows.items()} == {
        vid: domain for domain, vids in DOMAINS.items() for vid in vids
    }
    for vid, row in rows.items():
        assert (row.qid, row.query, row.duration) == (vid, f"Title {vid}", 2 * SHOTS)
        assert (row.dataset, row.protocol, row.rating_scale) == ("tvsum", "zero-shot", (1, 5))
        assert row.clips_apart is None
        np.testing.assert_array_equal(row.ratings(), shots(vid))


def test_tvsum_at_another_length_of_clips_keeps_its_shots(published: Path) -> None:
    lighthouse_tvsum(published)
    row = CONVERT["tvsum"](published, minute).files["zero-shot/test.jsonl"][0]
    other = Annotation.model_validate(row.model_dump(), context={"clip_seconds": 1.0})
    assert (other.clips, other.clips_apart) == (SHOTS, 2.0)


def test_the_protocols(published: Path) -> None:
    lighthouse_tvsum(published)
    files = CONVERT["tvsum"](published, minute).files
    found = {name: [row.vid for row in rows] for name, rows in files.items()}
    assert {name: sorted(vids) for name, vids in found.items()} == {
        "zero-shot/test.jsonl": ["a1", "a2", "b1", "b2", "b3"],
        "leave-one-out/VT/train.jsonl": ["b1", "b2"],
        "leave-one-out/VT/val.jsonl": ["b3"],
        "leave-one-out/VT/test.jsonl": ["a1", "a2"],
        "leave-one-out/BK/train.jsonl": ["a1"],
        "leave-one-out/BK/val.jsonl": ["a2"],
        "leave-one-out/BK/test.jsonl": ["b1", "b2", "b3"],
        "per-domain/VT/train.jsonl": ["a1"],
        "per-domain/VT/val.jsonl": ["a2"],
        "per-domain/BK/train.jsonl": ["b1", "b2"],
        "per-domain/BK/val.jsonl": ["b3"],
    }
    for name, rows in files.items():
        assert {row.protocol for row in rows} == {name.split("/")[0]}


def test_files_without_splits_leave_the_last_video_of_each_domain_for_val(published: Path) -> None:
    tables(published)
    conversion = CONVERT["tvsum"](published, minute)
    assert list(by_vid(conversion, "leave-one-out/VT/train.jsonl")) == ["b1", "b2"]
    assert list(by_vid(conversion, "leave-one-out/VT/val.jsonl")) == ["b3"]
    assert not [name for name in conversion.files if name.startswith("per-domain")]
    assert "no splits" in conversion.notes[0]


@pytest.mark.parametrize("length", ["1:00", "1:01", "1:02"])
@pytest.mark.parametrize("rate", [12.0, 23.976, 25.0, 29.97, 30.0, 59.94])
def test_shots_are_found_whatever_the_rate_and_the_rounding_of_the_length(
    published: Path, monkeypatch: pytest.MonkeyPatch, rate: float, length: str
) -> None:
    monkeypatch.setattr("tests.datasets.test_conversion.FRAMES", 2 * rate)
    tables(published)
    info = published / "ydata-tvsum50-info.tsv"
    info.write_text(info.read_text().replace("\t1:01", f"\t{length}"))
    rows = by_vid(CONVERT["tvsum"](published, minute), "zero-shot/test.jsonl")
    for vid, row in rows.items():
        np.testing.assert_array_equal(row.ratings(), shots(vid))


def test_youtube_highlights(published: Path) -> None:
    lighthouse_youtube(published)
    conversion = CONVERT["youtube-highlights"](published, minute)
    row = by_vid(conversion, "per-domain/dog/train.jsonl")["v"]
    # Frames 200 to 303 at 30 a second end 0.1 s after the video: cut.
    assert row.own_clips == ((0, 3.333333), (1.666667, 5), (6.666667, 10))
    assert row.ratings().tolist() == [[-1], [0], [1]]
    assert (row.query, row.rating_scale, row.protocol) == ("dog", (-1, 1), "per-domain")


def test_youtube_highlights_from_the_authors_folders(published: Path) -> None:
    lists(published)
    conversion = CONVERT["youtube-highlights"](published, minute)
    row = by_vid(conversion, "leave-one-out/dog/test.jsonl")["dTraiLooseL"]
    assert row.own_clips == ((0, 30), (15, 45), (30, 60))  # the last frame is that of the last clip
    assert row.ratings().tolist() == [[1], [0], [-1]]
    assert list(by_vid(conversion, "per-domain/skiing/val.jsonl")) == ["sTestTightL"]


@pytest.mark.parametrize("name", ["charades-sta", "tacos", "activitynet"])
def test_retrieval(published: Path, name: str) -> None:
    prefix = name.removesuffix("-sta")
    for split in ("train", "val", "test"):
        write(published / f"{prefix}_{split}_release.jsonl", FOUND | {"vid": split})
    conversion = CONVERT[name](published, minute)
    published_as = {"train.jsonl": "train", "test.jsonl": "test", "val.jsonl": "val"}
    if name == "activitynet":
        published_as["test.jsonl"] = published_as.pop("val.jsonl")
    if name == "charades-sta":
        published_as.pop("val.jsonl")
    if name == "activitynet":
        published_as["test.jsonl"] = "val"
    assert {n: rows[0].vid for n, rows in conversion.files.items()} == published_as
    row = conversion.files["train.jsonl"][0]
    assert (row.dataset, row.protocol, row.relevant_windows) == (name, None, ((1, 2.5),))
    assert (row.clips, row.saliency_scores) == (4, None)


def test_a_window_that_ends_after_its_video_by_rounding_is_cut(published: Path) -> None:
    windows = [[1, 9.7], [2, 9.8], [3, 10.7]]
    for split in ("train", "test"):
        row = FOUND | {"relevant_windows": windows}
        write(published / f"charades_{split}_release.jsonl", row)
    conversion = CONVERT["charades-sta"](published, minute)
    assert conversion.files["test.jsonl"][0].relevant_windows == ((1, 9.7), (2, 9.7), (3, 9.7))
    assert conversion.notes == ["4 windows end up to 1 s after their video: cut to its end"]


def test_activitynet_may_lack_one_file(published: Path) -> None:
    write(published / "activitynet_val_release.jsonl", FOUND)
    assert list(CONVERT["activitynet"](published, minute).files) == ["test.jsonl"]


# Bad files


def bad_tvsum(**change: Any) -> Callable[[Path], object]:
    def place(folder: Path) -> None:
        lighthouse_tvsum(folder)
        rows = [tvsum_row("a1", "VT"), tvsum_row("b1", "BK") | change]
        write(folder / "tvsum_train_release.jsonl", *rows)

    return place


def bad_table(name: str, old: str, new: str) -> Callable[[Path], object]:
    def place(folder: Path) -> None:
        tables(folder)
        path = folder / f"ydata-tvsum50-{name}.tsv"
        path.write_text(path.read_text().replace(old, new, 1))

    return place


def truncated_table(name: str, lines: int) -> Callable[[Path], object]:
    def place(folder: Path) -> None:
        tables(folder)
        path = folder / f"ydata-tvsum50-{name}.tsv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))

    return place


def not_utf8(name: str) -> Callable[[Path], object]:
    def place(folder: Path) -> None:
        tables(folder)
        with (folder / f"ydata-tvsum50-{name}.tsv").open("ab") as file:
            file.write(b"caf\xe9\n")

    return place


def no_videos(folder: Path) -> None:
    (folder / "dog").mkdir()
    (folder / "dog" / "vlist_sel.json").write_text("[]")


def bad_window(folder: Path) -> None:
    for split in ("train", "test"):
        row = FOUND | {"relevant_windows": [[1, 10.8]]}
        write(folder / f"charades_{split}_release.jsonl", FOUND, row | {"qid": 2})


def bad_window_text(folder: Path) -> None:
    write(folder / "charades_train_release.jsonl", FOUND | {"relevant_windows": [[1, "2"]]})
    write(folder / "charades_test_release.jsonl", FOUND)


def bad_list(folder: Path) -> None:
    lists(folder)
    (folder / "dog/dTraiLooseL/match_label.json").write_text("[[[0, 100]], [2]]")


def no_label(folder: Path) -> None:
    lists(folder)
    (folder / "dog/dTraiLooseL/match_label.json").unlink()


def bad_matrix(folder: Path) -> None:
    (folder / "ydata-tvsum50.mat").write_bytes(b"MATLAB 5.0")


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("tvsum", bad_tvsum(label=[]), "train_release.jsonl:2: label: got [], expected at least"),
        ("tvsum", bad_tvsum(duration=31), "2: duration: got 31, expected 30, the number of shots"),
        ("tvsum", bad_tvsum(domain=None), "train_release.jsonl:2: domain: got None"),
        (
            "tvsum",
            bad_tvsum(duration=2, label=[[1, 2], [6, 2]]),
            "train_release.jsonl:2: saliency_scores: got [6] in [1], expected 1 to 5",
        ),
        (
            "tvsum",
            bad_tvsum(duration=1, label=[[1.5, 2]]),
            "train_release.jsonl:2: saliency_scores[0][0]: got 1.5, expected a valid integer",
        ),
        ("tvsum", bad_table("anno", "a1\tVT\t", "a1\tVT\tx,"), "anno.tsv:1: got"),
        ("tvsum", bad_table("anno", "a1\tVT\t", "a1\tVT\t3,"), "anno.tsv:2: got ratings of 1802"),
        ("tvsum", bad_table("info", "\t1:01", "\tone"), "info.tsv:2: got"),
        ("tvsum", bad_table("info", "video_id", "video"), "info.tsv:2: got"),
        ("tvsum", bad_table("info", "\ta1\t", "\ta9\t"), "info.tsv:2: got video a9, expected"),
        ("tvsum", bad_table("info", "\t1:01", "\t0:51"), "info.tsv:2: ratings change within"),
        ("tvsum", truncated_table("info", 3), "info.tsv: got no line of ['b1', 'b2', 'b3']"),
        ("tvsum", truncated_table("info", 0), "info.tsv: got no line of ['a1', 'a2'"),
        ("tvsum", truncated_table("anno", 19), "published: got ratings of 3 annotators for ['b3']"),
        ("tvsum", not_utf8("info"), "info.tsv: got bytes that are not UTF-8"),
        ("tvsum", not_utf8("anno"), "anno.tsv: got bytes that are not UTF-8"),
        (
            "tvsum",
            bad_tvsum(duration=2, label=[[1], [2]]),
            "published: got ratings of 1 annotators for",
        ),
        ("youtube-highlights", no_videos, "published: got no video, expected some"),
        ("tvsum", bad_matrix, "ydata-tvsum50.mat: is not TVSum's file of Matlab 7.3"),
        (
            "youtube-highlights",
            lambda folder: lighthouse_youtube(folder, match=[1, 0]),
            "train_release.jsonl:1: match: got 2, expected 3 as clip",
        ),
        (
            "youtube-highlights",
            lambda folder: lighthouse_youtube(folder, match=[1, 0, 2]),
            "train_release.jsonl:1: match[2]: got 2, expected -1, 0 or 1",
        ),
        (
            "youtube-highlights",
            lambda folder: lighthouse_youtube(folder, fps=25.0),
            "train_release.jsonl:1: clips: got [[8.0, 12.12]], expected 0 <= start < end <= 10.0",
        ),
        ("youtube-highlights", bad_list, "dTraiLooseL/match_label.json: [1][0]: got 2"),
        ("youtube-highlights", no_label, "match_label.json: cannot be read (No such file"),
        (
            "charades-sta",
            bad_window,
            "train_release.jsonl:2: relevant_windows: got [[1.0, 10.8]], expected 0 <= start < end",
        ),
    ],
)
def test_bad_files_are_named_by_line(
    published: Path, name: str, place: Callable[[Path], object], expected: str
) -> None:
    place(published)
    with pytest.raises(AnnotationError) as caught:
        CONVERT[name](published, minute)  # pyright: ignore[reportArgumentType] (tiny durations)
    assert str(caught.value).startswith(str(published))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("tvsum", bad_tvsum(label=[["1"]], duration=1)),
        (
            "youtube-highlights",
            lambda folder: lighthouse_youtube(folder, clip=[[0, 9], [9, 8], [9, 10]]),
        ),
        ("charades-sta", bad_window_text),
    ],
)
def test_a_mistake_is_reported_once(
    published: Path, name: str, place: Callable[[Path], object]
) -> None:
    """Its consequences for other fields of the row are no problems of their own."""
    place(published)
    with pytest.raises(AnnotationError) as caught:
        CONVERT[name](published, minute)  # pyright: ignore[reportArgumentType] (tiny durations)
    (_,) = str(caught.value).splitlines()


@pytest.mark.parametrize("domain", ["../up", "a/b", "/", ".."])
def test_a_domain_is_the_name_of_a_folder(published: Path, domain: str) -> None:
    lighthouse_youtube(published, domain=domain)
    with pytest.raises(AnnotationError, match=f"got the domain '{domain}', expected a name"):
        CONVERT["youtube-highlights"](published, minute)


def test_a_video_in_two_splits_is_refused(published: Path) -> None:
    lighthouse_youtube(published, vid="w")
    with pytest.raises(AnnotationError, match=r"got \['w'\] more than once, expected one row"):
        CONVERT["youtube-highlights"](published, minute)


@pytest.mark.parametrize("name", [benchmark.name for benchmark in PUBLISHED])
def test_files_that_are_not_there_are_named(published: Path, name: Any) -> None:
    with pytest.raises(HlclipError, match=rf"{published}: no .*train.*|{published}: no ydata") as e:
        CONVERT[name](published, minute)
    assert f"hlclip data {name} --help" in str(e.value)


# The command


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_the_command_writes_what_check_misses(published: Path) -> None:
    lighthouse_tvsum(published)
    root = published.parent
    checked = run("tvsum", root, "--check")
    assert checked.exit_code == 1
    assert "annotations/leave-one-out: 6 files, missing" in checked.output
    assert not (root / "annotations").exists()
    converted = run("tvsum", root)
    assert converted.exit_code == 0, converted.output
    assert "annotations/per-domain: 4 files, as converted" in converted.output
    assert "videos/: 0 of the 5 that they name" in converted.output
    rows = read_annotations(root / "annotations/leave-one-out/VT/train.jsonl")
    assert [row.vid for row in rows] == ["b1", "b2"]
    (root / "videos").mkdir()
    for vid in ("a1", "a2", "b1", "b2", "b3"):
        (root / "videos" / f"{vid}.mp4").write_bytes(b"a video")
    assert run("tvsum", root, "--check").exit_code == 0
    (root / "annotations/zero-shot/test.jsonl").write_text("{}")
    facts = json.loads(run("tvsum", root, "--check", "--json").stdout)
    assert facts["annotations"]["zero-shot/test.jsonl"] == "different"
    assert (facts["whole"], facts["missing"]) == (False, [])


def test_the_authors_folders_of_youtube_highlights_need_the_videos(published: Path) -> None:
    lists(published)
    root = published.parent
    without = run("youtube-highlights", root)
    assert without.exit_code == 2
    assert "no file dTraiLooseL.*, whose duration these annotations need" in without.output
    (root / "videos").mkdir()
    for vid in ("dTraiLooseL", "dTestTightL", "sTraiLooseL", "sTestTightL"):
        film(root / "videos" / f"{vid}.mp4", "-c:v", "mpeg4", seconds=6)
    assert run("youtube-highlights", root).exit_code == 0
    (row, _) = read_annotations(root / "annotations/leave-one-out/dog/test.jsonl")
    assert row.own_clips == ((0, 3), (1.5, 4.5), (3, 6))


@pytest.mark.parametrize("benchmark", PUBLISHED, ids=lambda benchmark: benchmark.name)
def test_the_help_says_where_files_come_from_and_under_which_terms(benchmark: Any) -> None:
    text = " ".join(run(benchmark.name, "--help").output.split())
    for fact in (benchmark.terms, benchmark.videos, "github.com/line/lighthouse"):
        assert " ".join(fact.split()) in text


# The real files


@pytest.mark.parametrize(
    ("folder", "name", "counts"),
    [
        ("tvsum", "tvsum", {"zero-shot/test": 50, "leave-one-out/VT/train": 36}),
        (
            "youtube_highlight",
            "youtube-highlights",
            {"zero-shot/test": 385, "per-domain/dog/train": 39, "per-domain/dog/val": 16},
        ),
        ("charades", "charades-sta", {"train": 12404, "test": 3720}),
        ("tacos", "tacos", {"train": 9790, "val": 4436, "test": 4001}),
        (
            "youtube_highlights_original",
            "youtube-highlights",
            {"per-domain/dog/train": 24, "per-domain/dog/val": 25},
        ),
    ],
)
def test_the_published_files(
    other_benchmarks_dir: Path, folder: str, name: Any, counts: dict[str, int]
) -> None:
    conversion = CONVERT[name](other_benchmarks_dir / folder, minute)
    assert {n: len(conversion.files[f"{n}.jsonl"]) for n in counts} == counts
    assert conversion.notes == []
    domains = {row.domain for rows in conversion.files.values() for row in rows}
    expected = {"tvsum": 10, "youtube_highlight": 6}
    assert len(domains) == expected.get(folder, 1)


def test_the_authors_clips_are_those_of_lighthouse(other_benchmarks_dir: Path) -> None:
    theirs = CONVERT["youtube-highlights"](other_benchmarks_dir / "youtube_highlight", minute)
    rows = by_vid(theirs, "zero-shot/test.jsonl")
    own = CONVERT["youtube-highlights"](
        other_benchmarks_dir / "youtube_highlights_original",
        lambda vid: rows[vid].duration if vid in rows else MINUTE,
    )
    both = [(row, rows[row.vid]) for row in own.files["zero-shot/test.jsonl"] if row.vid in rows]
    assert len(both) == 35
    for authors, lighthouse in both:
        np.testing.assert_array_equal(authors.ratings(), lighthouse.ratings())
        # Within the rate that the last clip's end gives: 8 frames.
        np.testing.assert_allclose(authors.clip_times(), lighthouse.clip_times(), atol=0.4)
