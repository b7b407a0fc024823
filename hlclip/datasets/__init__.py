"""Public data sets: where they are published, how they are downloaded, recognised and converted.

And ratings of your own videos.

qvhighlights          QVHighlights' files, and which of them a folder holds
download              one file over HTTP, resumed and verified
archive               videos extracted from one large archive
conversion            published files of another data set to annotation files, by protocol
tvsum                 TVSum: titles as queries, shots of two seconds, 20 annotators
youtube_highlights    YouTube Highlights: six domains as queries, overlapping clips
retrieval             Charades-STA, TACoS, ActivityNet Captions: windows without ratings
ratings               ratings of your own clips by several people, as annotation rows
ratings_file          the same ratings as CSV
"""

from hlclip.datasets.archive import extract_videos, videos_in
from hlclip.datasets.conversion import (
    Conversion,
    ConversionStatus,
    PublishedData,
    conversion_status,
    write_conversion,
    write_rows,
)
from hlclip.datasets.download import DownloadError, download
from hlclip.datasets.qvhighlights import (
    ANNOTATIONS,
    VIDEOS,
    DatasetStatus,
    Release,
    VideoArchive,
    dataset_status,
    identify_release,
)
from hlclip.datasets.ratings import Query, Ratings
from hlclip.datasets.ratings_file import named_videos, read_ratings, write_ratings
from hlclip.datasets.retrieval import ACTIVITYNET, CHARADES_STA, TACOS
from hlclip.datasets.tvsum import TVSUM
from hlclip.datasets.youtube_highlights import YOUTUBE_HIGHLIGHTS

PUBLISHED = (TVSUM, YOUTUBE_HIGHLIGHTS, CHARADES_STA, TACOS, ACTIVITYNET)
