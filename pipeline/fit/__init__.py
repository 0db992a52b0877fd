"""Optimisers: SKELify (2D keypoints to SKEL) and SMPL-to-SKEL conversion."""

from pipeline.fit.skelify import Anchor, Skelify, SkelifyConfig, SkelifyResult
from pipeline.fit.smpl_to_skel import SmplToSkel, SmplToSkelConfig, SmplToSkelResult

__all__ = ["Anchor", "Skelify", "SkelifyConfig", "SkelifyResult", "SmplToSkel", "SmplToSkelConfig", "SmplToSkelResult"]
