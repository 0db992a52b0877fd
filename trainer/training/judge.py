"""The adversarial prior as a training's settings say, for one rank."""

from trainer.data import rows_of_rank
from trainer.prior import AdversarialPrior, load_mocap, load_smpl_mocap
from trainer.training.job import Place
from trainer.training.train_config import TrainConfig


def adversarial_prior(config: TrainConfig, place: Place) -> AdversarialPrior:
    """Raises MocapError or FileNotFoundError for motions that cannot be used."""
    mocap = (load_mocap if config.network.head == "skel" else load_smpl_mocap)(config.prior.mocap)
    rows = rows_of_rank(config.data, place.rank, place.world)
    people = config.data.global_batch
    return AdversarialPrior(config.prior, mocap, seed=config.data.seed, device=place.device, people=people, rows=rows)
