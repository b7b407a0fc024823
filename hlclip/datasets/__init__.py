"""Public data sets: where they are published, and how they are obtained.

qvhighlights    QVHighlights' files, and what a folder holds of them
download        one file over HTTP, resumed and verified
archive         videos out of one large archive
"""

from hlclip.datasets.archive import extract_videos
from hlclip.datasets.download import DownloadError, download
from hlclip.datasets.qvhighlights import (
    ANNOTATIONS,
    VIDEOS,
    DatasetStatus,
    Release,
    VideoArchive,
    identify,
    look,
    named,
)
