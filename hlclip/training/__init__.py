"""Fit the tail from the cache.

fit              epochs of AdamW over the cached activations, and the state between two of them
epoch_loss       the mean loss of an epoch, and the end of a training that diverges
losses           what a training minimises
optimizer        AdamW, its learning rates, and averaged weights
least_squares    scale and bias from the zero-shot cosines
ranks            the processes of one training, and what they exchange
launcher         start these processes, or join those of torchrun
step             what a tail computes from batches: a training step, and scores
micro_batch      pieces of a step, and shorter ones if memory runs out
memory           GPU memory that steps and scores need
batches          cached activations and ratings as batches
token_sources    cached tokens read from disk, or kept in memory between epochs
"""

from hlclip.training.batches import Batch, CachedQueries, load_batches
from hlclip.training.fit import TrainingState, Validate, fit_tail, set_up_tail, write_history
from hlclip.training.launcher import joined, launch
from hlclip.training.losses import Loss, make_loss
from hlclip.training.memory import kept_bytes, score_bytes, step_bytes
from hlclip.training.micro_batch import micro_batch_frames
from hlclip.training.ranks import ProcessesError, Ranks
from hlclip.training.step import TrainError, accumulate_gradients, batch_cosines, score_queries
from hlclip.training.token_sources import DiskSource
