"""Training data: shards joined with the label rows of one generation, decoded, cropped, augmented, batched.

The sequence of global batches depends on the configuration, the generation and the epoch alone, not on the number of
ranks or loader processes:

    config = TrainDataConfig(global_batch=64, seed=0, workers=2)
    index = index_generation(store, round, config)         # once a training: who there is, in which shard
    stream = open_epoch(config, index, epoch, rank=rank, world=world, start_batch=done)
    for batch in stream:                                    # TrainBatch or SmplBatch, rows_of_rank of the global batch
        ...
    stream.counts, stream.rows                              # every label row, used or not, and why
    for batch in open_validation(config, index, batch_size=64, rank=rank, world=world): ...
    plain_patches(photo, photo.people)                      # (N, 3, 256, 256) uint8, for prediction
"""

from trainer.data.augmentation import AugmentConfig
from trainer.data.batch import CropBatch, SmplBatch, TrainBatch
from trainer.data.config import TrainDataConfig
from trainer.data.epoch_plan import NobodyToTrainOnError, batches_per_epoch
from trainer.data.join import JoinCounts, PlannedRows, total
from trainer.data.label_index import LabelIndex, index_generation
from trainer.data.lane_shares import rows_of_rank
from trainer.data.sample import plain_patches
from trainer.data.stream import BatchStream, TooManyLostError, open_epoch, open_validation
from trainer.data.weights import LabelWeightConfig

__all__ = [
    "AugmentConfig",
    "BatchStream",
    "CropBatch",
    "JoinCounts",
    "LabelIndex",
    "LabelWeightConfig",
    "NobodyToTrainOnError",
    "PlannedRows",
    "SmplBatch",
    "TooManyLostError",
    "TrainBatch",
    "TrainDataConfig",
    "batches_per_epoch",
    "index_generation",
    "open_epoch",
    "open_validation",
    "plain_patches",
    "rows_of_rank",
    "total",
]
