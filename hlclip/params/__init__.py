"""The keys of `params.yaml`, with units and allowed values.

`params.yaml` is complete: nothing has a default in code, so the file (and `dvc params diff`) shows
everything that a result depends on. Parameter objects stop at the stage modules; engines take
plain values.

The sets of values are listed here and not imported: every stage depends on this wing and on what
it imports, so an import of `hlclip.evaluation` would rerun ffmpeg after an edit of a metric.

sections     the sections but `train`, the whole file, and reading it
train        the section `train`
values       types of the values
"""

from hlclip.params.sections import (
    DataParams,
    EncoderParams,
    FramesParams,
    MomentsParams,
    Params,
    ParamsError,
    PoolParams,
    check_params,
    load_params,
    trains,
)
from hlclip.params.train import TrainParams
from hlclip.params.values import Decoder, Split
