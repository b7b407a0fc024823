"""Public data sets: where they are published, how they are downloaded and recognised.

qvhighlights    QVHighlights' files, and which of them a folder holds
download        one file over HTTP, resumed and verified
archive         videos extracted from one large archive
"""

from hlclip.datasets.archive import extract_videos
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
