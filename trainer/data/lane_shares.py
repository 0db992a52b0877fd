"""Which lanes a rank owns, and so which rows of every global batch: any number of ranks up to that of the lanes."""

from trainer.data.config import TrainDataConfig


def lanes_of_rank(config: TrainDataConfig, rank: int, world: int) -> range:
    """Whole lanes, one after the other; ranks differ by one at most, the first have more (8 lanes, 3 ranks: 3, 3, 2).

    Raises ValueError for a rank without a lane.
    """
    if not 0 <= rank < world or world > config.lanes:
        raise ValueError(
            f"rank {rank} of {world} with lanes={config.lanes}: every rank reads one or more. Use fewer ranks, or set "
            f"data.lanes to {world} or more (and data.global_batch to a multiple of the lanes)."
        )
    each, more = divmod(config.lanes, world)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def rows_of_rank(config: TrainDataConfig, rank: int, world: int) -> range:
    """Of every global batch, whose `config.global_batch` rows the ranks share without gap. Raises ValueError."""
    lanes, people = lanes_of_rank(config, rank, world), config.global_batch // config.lanes
    return range(lanes.start * people, lanes.stop * people)
