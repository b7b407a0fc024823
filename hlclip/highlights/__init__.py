"""Your own videos: saliency for free queries, and what is made of it.

    scorer           saliency curves of videos for queries
    moments          the best moments of a curve
    output           files that go in and come out
    model_cache      what is remembered of a model between commands
    pictures         pictures of a video at given times
    features         the loaded model (torch)
    chart            a chart of one curve (Matplotlib)
    contact_sheet    a picture of the best moments (Matplotlib)
    film             a film of the best moments (ffmpeg)

`features`, `chart`, `contact_sheet`, `film`: imported by name; they take seconds to load.
"""

from hlclip.highlights.moments import WINDOW, Curve, Moment, best_moments, clock
from hlclip.highlights.output import (
    Answer,
    as_json,
    check_film,
    name_videos,
    write_csv,
    write_jsonl,
)
from hlclip.highlights.scorer import Scorer, load_scorer
