"""Published figures, to stand beside ours: of HSMR (Xia et al., CVPR 2025) and of SKEL-CF (arXiv 2511.20157)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """figures: by data set and measure, as `trainer.evaluation.protocols` calls them."""

    method: str
    figures: Mapping[tuple[str, str], float]


REFERENCES: Final = (
    Reference(
        method="HMR2.0, published",
        figures={
            ("coco", "pck@0.05"): 0.86,
            ("3dpw", "mpjpe_mm"): 81.3,
            ("3dpw", "pa_mpjpe_mm"): 54.3,
            ("h36m", "mpjpe_mm"): 50.0,
            ("moyo", "mpjpe_mm"): 123.3,
            ("moyo", "pa_mpjpe_mm"): 90.4,
            ("moyo", "mpvpe_mm"): 142.2,
        },
    ),
    Reference(
        method="HMR2.0 + SKEL fit, two stages, published",
        figures={("coco", "pck@0.05"): 0.78, ("3dpw", "mpjpe_mm"): 81.0, ("moyo", "mpjpe_mm"): 130.5},
    ),
    Reference(
        method="HSMR, published",
        figures={
            ("coco", "pck@0.05"): 0.85,
            ("3dpw", "mpjpe_mm"): 81.5,
            ("3dpw", "pa_mpjpe_mm"): 54.8,
            ("h36m", "mpjpe_mm"): 50.4,
            ("moyo", "mpjpe_mm"): 104.5,
            ("moyo", "pa_mpjpe_mm"): 79.6,
            ("moyo", "mpvpe_mm"): 120.1,
        },
    ),
    Reference(method="SKEL-CF, published", figures={("moyo", "mpjpe_mm"): 85.0, ("moyo", "pa_mpjpe_mm"): 51.4}),
)
