"""What is asked of a network on each data set: the file's format, the crop, the truth and the measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

FileFormat = Literal["hmr2", "moyo"]
CropStyle = Literal["warp", "resize"]
Truth = Literal["keypoints_3d", "keypoints_2d", "smpl"]

THRESHOLDS: Final = (0.05, 0.1)
"""Of PCK, in units of the box's longer side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure of a data set. name: its key in the results; unit "": a share; digits: after the point, in tables."""

    name: str
    title: str
    unit: str
    digits: int


MPJPE: Final = Measure(name="mpjpe_mm", title="MPJPE", unit="mm", digits=1)
PA_MPJPE: Final = Measure(name="pa_mpjpe_mm", title="PA-MPJPE", unit="mm", digits=1)
MPVPE: Final = Measure(name="mpvpe_mm", title="MPVPE", unit="mm", digits=1)
PA_MPVPE: Final = Measure(name="pa_mpvpe_mm", title="PA-MPVPE", unit="mm", digits=1)
PCK: Final = tuple(Measure(name=f"pck@{t:g}", title=f"PCK@{t:g}", unit="", digits=2) for t in THRESHOLDS)

MEASURES: Final[Mapping[Truth, tuple[Measure, ...]]] = MappingProxyType(
    {"keypoints_3d": (MPJPE, PA_MPJPE), "keypoints_2d": PCK, "smpl": (MPJPE, PA_MPJPE, MPVPE, PA_MPVPE)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a data set is evaluated.

    scale_factor: how much larger than the tight box the boxes of its files are. smpl_in_place: a file without 3D
    keypoints may hold SMPL parameters, whose keypoints are the truth then.
    """

    title: str
    format: FileFormat = "hmr2"
    crop: CropStyle = "warp"
    truth: Truth
    scale_factor: float = 1.0
    smpl_in_place: bool = False

    @property
    def measures(self) -> tuple[Measure, ...]:
        return MEASURES[self.truth]

    @property
    def crop_text(self) -> str:
        """As the table states it."""
        how = {"warp": "bilinear", "resize": "corners cut to whole px, resized"}[self.crop]
        box = "box" if self.scale_factor == 1 else f"box ({self.scale_factor:g} x tight)"
        return f"{box} widened to 192:256, longer side, {how}"


PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType(
    {
        "3dpw": Protocol(title="3DPW", truth="keypoints_3d"),
        "h36m": Protocol(title="H36M-P2", truth="keypoints_3d"),
        "emdb": Protocol(title="EMDB", truth="keypoints_3d", smpl_in_place=True),
        "moyo": Protocol(title="MOYO", truth="smpl", format="moyo", crop="resize"),
        "coco": Protocol(title="COCO", truth="keypoints_2d"),
        "lsp": Protocol(title="LSP-Extended", truth="keypoints_2d", scale_factor=1.2),
        "posetrack": Protocol(title="PoseTrack", truth="keypoints_2d", scale_factor=1.2),
    }
)
"""By the name that `--dataset` takes."""
