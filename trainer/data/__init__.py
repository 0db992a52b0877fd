"""Training data: shards joined with the label rows of one generation, decoded, cropped, augmented, batched.

What a training loop calls (all of it deterministic for a seed, whatever the number of ranks and loader workers):

    config = TrainDataConfig(global_batch=64, seed=0, workers=2)
    index = index_generation(store, round, config)                # once a training: who there is, in which shard
    for batch in open_epoch(config, index, epoch, rank=rank, world=world, start_batch=done):
        ...                                                       # TrainBatch of global_batch // world people
    stream.counts                                                 # JoinCounts: rows used and skipped, by reason
    for batch in open_validation(config, index, batch_size=64, rank=rank, world=world): ...
    plain_patches(photo, photo.people)                            # (N, 3, 256, 256) uint8, for prediction

Signatures:
    index_generation(store: LabelStore, round: int, config: TrainDataConfig, shards: Sequence[ShardInfo] | None = None)
        -> LabelIndex      shards: default those of the generation's lineage
    open_epoch(config, index, epoch, *, rank=0, world=1, start_batch=0) -> BatchStream
    open_validation(config, index, *, batch_size, rank=0, world=1) -> BatchStream
    BatchStream: iterator of TrainBatch; len() = batches of the whole epoch; .counts; .close()
    LabelIndex: picklable; .training_people, .validation_people
"""
