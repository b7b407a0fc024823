"""The files that stages, commands and other programs exchange: one module per format.

annotations         annotation rows in the QVHighlights format
data_sets           names of data sets and protocols; clips with times of their own
submissions         submission files in the QVHighlights format
manifests           the index, and the items that a stage put into the store
calibration         what the scores of a checkpoint are worth
scores              cosines of every clip with its query; names of variants
run_lock            dvc.lock: parameters, inputs and outputs of the last run
requirements        requirements.txt of a project: the version of hlclip
safetensors_file    safetensors with facts and a digest; the facts of a checkpoint
file_kinds          what a file is that should be JSONL and is not
validation          rows of JSONL files; every problem of input and damaged files, in words
"""

from hlclip.formats.annotations import (
    ANNOTATORS,
    CLIP_SECONDS,
    LEVELS,
    MAX_RATING,
    Annotation,
    AnnotationError,
    Level,
    read_annotations,
)
from hlclip.formats.calibration import (
    CALIBRATION_FILE,
    Calibration,
    Pooling,
    ScoreMap,
    mean_of,
    read_calibration,
    write_calibration,
)
from hlclip.formats.data_sets import RETRIEVAL, Clips, ClipTimes, DataSet, Protocol
from hlclip.formats.manifests import (
    Header,
    Index,
    Item,
    Manifest,
    Video,
    VideoInfo,
    parse_manifests,
    read_index,
    read_manifests,
    write_index,
    write_manifests,
)
from hlclip.formats.requirements import REQUIREMENTS, check_version
from hlclip.formats.run_lock import LOCK_FILE, RunLock, flat, parse_lock, read_lock
from hlclip.formats.safetensors_file import (
    CHECKPOINT_REMEDY,
    CheckpointError,
    find_not_finite,
    is_fine_tuned,
    read_arrays,
    read_facts,
    write_arrays,
)
from hlclip.formats.scores import (
    ZERO_SHOT,
    Origin,
    SplitScores,
    fine_tuned,
    pack,
    pooled,
    read_origin,
    read_scores,
    submission_name,
    unpooled,
    write_scores,
)
from hlclip.formats.submissions import (
    Prediction,
    copy_with_windows,
    read_answers,
    read_same_answers,
    read_submission,
    saliency_of,
    write_submission,
)
from hlclip.formats.validation import (
    DamagedFileError,
    Number,
    Row,
    StaleFileError,
    check_origin,
    or_word,
    problem_list,
    problems_of,
    read_rows,
    shown,
)
