"""Why a checkpoint was refused."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file, what is wrong with it and what to do."""
