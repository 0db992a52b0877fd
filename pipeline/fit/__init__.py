"""Optimisers: SKELify (keypoints to SKEL) and SMPL-to-SKEL conversion."""

from pipeline.fit.objectives.published_objective import hsmr_objective
from pipeline.fit.objectives.skelify_config import SkelifyConfig
from pipeline.fit.skelify import Anchor, Skelify, SkelifyResult
from pipeline.fit.smpl_to_skel import SmplToSkel, SmplToSkelConfig, SmplToSkelResult

__all__ = [
    "Anchor",
    "Skelify",
    "SkelifyConfig",
    "SkelifyResult",
    "SmplToSkel",
    "SmplToSkelConfig",
    "SmplToSkelResult",
    "hsmr_objective",
]
