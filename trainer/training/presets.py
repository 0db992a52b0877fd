"""Published recipes as named settings: `preset=hsmr` comes before all overrides, so that each of its settings can be.

A preset says what is known of a recipe, every number with its source; what nobody published stays as it is without one.
Keys are those of training and of rounds; a command takes the ones that it knows (docs/training.md#recipes).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.runtime.config import ConfigError

HSMR: Final = "HSMR (Xia et al., CVPR 2025), published training"
SHARED: Final = "published training of HSMR and HMR2.0 (Goel et al., ICCV 2023)"
SKEL_CF: Final = "SKEL-CF (arXiv 2511.20157), the paper"
HMR2: Final = "HMR2.0 (Goel et al., ICCV 2023), published training"
OURS: Final = "ours"

GPUS: Final = 8
PEOPLE_A_GPU: Final = 78
DATA_MIX: Final[Mapping[str, float]] = MappingProxyType(
    {
        "h36m": 0.1,
        "mpii": 0.1,
        "coco14": 0.1,
        "coco14-vitpose": 0.1,
        "mpi-inf-3dhp": 0.02,
        "ava": 0.19,
        "aic": 0.19,
        "insta": 0.2,
    }
)
"""Share of each data set in a batch, by the name of its folder of shards."""


class Setting(NamedTuple):
    """`key=value`, and who says so."""

    key: str
    value: bool | int | float | str
    source: str

    @property
    def override(self) -> str:
        return f"{self.key}={str(self.value).lower() if isinstance(self.value, bool) else self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementRhythm:
    """How often the original refines labels while it trains: from step `first_step` on, every `every_steps` steps,
    those of the last `samples` samples that each of GPUS ranks has seen. Ours are whole rounds, of everybody.
    """

    first_step: int = 5_000
    every_steps: int = 230
    samples: int = 18_000

    def steps_of_round(self, people: int) -> float:
        """How many of its steps refine as many people as a round of ours: about an epoch."""
        return people / (GPUS * self.samples) * self.every_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """what: in a line; rhythm: what a round stands for, None where labels are not refined."""

    name: str
    what: str
    settings: tuple[Setting, ...]
    rhythm: RefinementRhythm | None = None


_DATA: Final = (
    Setting("data.mix", ",".join(f"{name}={share}" for name, share in DATA_MIX.items()), SHARED),
    Setting("data.global_batch", GPUS * PEOPLE_A_GPU, f"{SHARED}: {GPUS} GPUs x {PEOPLE_A_GPU} people"),
    Setting("data.lanes", GPUS, f"{OURS}: one a GPU, or several on fewer"),
    Setting("data.fewest_keypoints", 5, f"{SHARED}: more than 4 usable points"),
    Setting("data.pseudo_labels.max_fitting_loss", 31_000, SHARED),
    Setting("data.pseudo_labels.max_betas", 3, SHARED),
    Setting("data.augment.scale", 0.3, SHARED),
    Setting("data.augment.rotation_deg", 30, SHARED),
    Setting("data.augment.rotation_p", 0.6, SHARED),
    Setting("data.augment.shift", 0.02, SHARED),
    Setting("data.augment.color", 0.2, SHARED),
    Setting("data.augment.flip_p", 0.5, SHARED),
    Setting("data.augment.extreme_p", 0.1, SHARED),
)
_OPTIMISATION: Final = (
    Setting("network.variant", "h", SHARED),
    Setting("network.drop_path", 0.55, SHARED),
    Setting("optimizer.learning_rate", 1e-5, SHARED),
    Setting("optimizer.weight_decay", 1e-4, SHARED),
    Setting("optimizer.precision", "float16", f"{SHARED}: mixed precision"),
)
_SKEL_HEAD: Final = Setting("network.head", "skel", HSMR)
_LABELS_IN_FULL: Final = (
    Setting("data.weights.q_std_half", "inf", f"{OURS}: no label counts less for its uncertainty, as in the original"),
    Setting("data.weights.poor_fit", 0, f"{HSMR}: labels whose conversion is 60 mm off or more are left out"),
)
_SKEL_LOSSES: Final = (
    Setting("loss.keypoints_3d", 0.05, HSMR),
    Setting("loss.keypoints_2d", 0.01, HSMR),
    Setting("loss.orient", 0.002, HSMR),
    Setting("loss.body", 0.001, HSMR),
    Setting("loss.betas", 0.0005, HSMR),
    Setting("loss.unlabelled_betas", 0.0005, f"{SHARED}: as if labelled 0"),
    Setting("loss.limits", 0, HSMR),
    Setting("prior.weight", 0, HSMR),
)
_SMPL_LOSSES: Final = (
    Setting("loss.keypoints_3d", 0.05, HMR2),
    Setting("loss.keypoints_2d", 0.01, HMR2),
    Setting("loss.orient", 0.001, HMR2),
    Setting("loss.body", 0.001, HMR2),
    Setting("loss.betas", 0.0005, HMR2),
    Setting("loss.unlabelled_betas", 0.0005, f"{SHARED}: as if labelled 0"),
    Setting("prior.weight", 0.0005, HMR2),
    Setting("prior.learning_rate", 1e-5, HMR2),
    Setting("prior.weight_decay", 1e-4, HMR2),
)
_REFINEMENT: Final = (Setting("accept.betas_limit", 2, f"{HSMR}: refined labels with |beta| < 2"),)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="hsmr",
                what="HSMR: ViT-H, SKEL head, labels refined while it trains",
                settings=(*_OPTIMISATION, _SKEL_HEAD, *_DATA, *_LABELS_IN_FULL, *_SKEL_LOSSES, *_REFINEMENT),
                rhythm=RefinementRhythm(),
            ),
            Preset(
                name="hmr2",
                what="HMR2.0: ViT-H, SMPL head, the pseudo-labels of the shards; prior.mocap names the prior's motions",
                settings=(*_OPTIMISATION, Setting("network.head", "smpl", HMR2), *_DATA, *_SMPL_LOSSES),
            ),
            Preset(
                name="skel-cf",
                what="SKEL-CF as far as it is known: HSMR's recipe, a network that is told each photo's camera and "
                "refines its estimate layer by layer",
                settings=(
                    *_OPTIMISATION,
                    _SKEL_HEAD,
                    Setting("network.camera", "full", SKEL_CF),
                    Setting("network.refine_layers", True, SKEL_CF),
                    *_DATA,
                    *_LABELS_IN_FULL,
                    *_SKEL_LOSSES,
                    *_REFINEMENT,
                ),
                rhythm=RefinementRhythm(),
            ),
        )
    }
)


def preset(name: str) -> Preset:
    """Raises ConfigError, listing them, for a name that no preset has."""
    if name not in PRESETS:
        known = "\n".join(f"  preset={each.name}: {each.what}" for each in PRESETS.values())
        raise ConfigError(f"There is no preset {name!r}. There are:\n{known}")
    return PRESETS[name]


def split_preset(overrides: list[str]) -> tuple[Preset | None, list[str]]:
    """The preset that the words name, if any, and the others. Raises ConfigError for an unknown one, or several."""
    names = [word.removeprefix("preset=") for word in overrides if word.startswith("preset=")]
    if len(names) > 1:
        raise ConfigError(f"preset={', preset='.join(names)}: one preset expected; overrides change what it says.")
    rest = [word for word in overrides if not word.startswith("preset=")]
    return (preset(names[0]) if names else None), rest


def with_preset(overrides: list[str], known: set[str]) -> list[str]:
    """The overrides, after those of the preset that they name, as far as their keys are `known`."""
    chosen, rest = split_preset(overrides)
    settings = () if chosen is None else chosen.settings
    return [*(setting.override for setting in settings if setting.key in known), *rest]
