"""What poses people take: a density over SKEL's joint angles, learned from motion capture."""

from pipeline.fit.prior.pose_prior import PosePrior, QuadraticBound, implausibility

__all__ = ["PosePrior", "QuadraticBound", "implausibility"]
