"""Your own videos: saliency for free queries, and the best moments as files, charts and films.

    scorer           saliency curves of videos for queries
    moments          the best moments of a curve
    generic          highlights without a query
    ratings          what the scores of a model are worth
    output           the videos that a user names, and the files that scoring writes
    backbone         where the model of a checkpoint is
    summary          the best moments of all videos: CSV and a page
    model_cache      facts of a model, remembered between commands
    model_name       the model of a scorer in words
    pictures         pictures of a video at given times
    features         features of videos and queries from a loaded model (torch)
    drawings         the chart of a curve, the contact sheet of the best moments (Matplotlib)
    fonts            fonts that have the letters of a query (Matplotlib)
    exports          files of the moments for editors, players, spreadsheets and YouTube
    timelines        the moments of a query as OpenTimelineIO, XML and EDL
    media            the frame rate, time code and sound of a video
    scenes           ends of moments at cuts of the video (PySceneDetect)
    film             a film of the best moments
    shorts           moments that fit into a film of limited length
    film_copy        ranges of a video as a film, copied packet by packet (PyAV)
    film_encode      ranges of a video as a film, encoded (ffmpeg)
    film_check       what a film promises to show, and whether it does

`features`, `drawings`, `film`, `scenes` and `summary` take long to load: import them by name.
"""

from hlclip.highlights.exports import export_moments, export_table
from hlclip.highlights.generic import GENERIC
from hlclip.highlights.model_name import model_in_words
from hlclip.highlights.moments import MIN_RATING, WINDOW, Curve, Moment, best_moments, clock
from hlclip.highlights.output import (
    Answer,
    CutError,
    FileStems,
    ScoreFiles,
    as_json,
    check_film,
    clip_suffix,
    name_videos,
)
from hlclip.highlights.pictures import clip_pictures, data_url, moment_pictures
from hlclip.highlights.scorer import Scorer, check_query, load_scorer
from hlclip.highlights.shorts import shortened, within
