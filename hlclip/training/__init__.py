"""Fit the tail from the cache.

fit              epochs of AdamW over the cached activations
step             one step: loss and gradients, in pieces
batches          cached activations and ratings as batches
token_sources    where the tokens of a split live during a run
state            what an interrupted training needs to go on
cosines          scores of a tail over cached queries
"""

from hlclip.training.batches import Batch, CachedQueries, cached_queries, load_batches
from hlclip.training.cosines import score_queries
from hlclip.training.fit import TrainError, Validate, fit_tail, write_history
from hlclip.training.state import TrainingState
from hlclip.training.step import Regression, accumulate_gradients, micro_batch_frames
from hlclip.training.token_sources import Each, FromDisk
