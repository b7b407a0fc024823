"""Your own videos: saliency for free queries, and the best moments as files, charts and films.

    scorer           saliency curves of videos for queries
    moments          the best moments of a curve
    generic          highlights without a query
    ratings          what the scores of a model are worth
    output           the videos that a user names, and the files that scoring writes
    summary          the best moments of all videos: CSV and a page
    model_cache      facts of a model, remembered between commands
    pictures         pictures of a video at given times
    features         features of videos and queries from a loaded model (torch)
    drawings         the chart of a curve, the contact sheet of the best moments (Matplotlib)
    fonts            fonts that have the letters of a query (Matplotlib)
    film             a film of the best moments
    film_copy        ranges of a video as a film, copied packet by packet (PyAV)
    film_encode      ranges of a video as a film, encoded (ffmpeg)
    film_check       what a film promises to show, and whether it does

`features`, `drawings`, `film` and `summary` are imported by name, as they take long to load.
"""

from hlclip.highlights.moments import MIN_RATING, WINDOW, Curve, Moment, best_moments, clock
from hlclip.highlights.output import (
    Answer,
    ScoreFiles,
    as_json,
    check_film,
    name_videos,
)
from hlclip.highlights.scorer import Scorer, check_query, load_scorer
