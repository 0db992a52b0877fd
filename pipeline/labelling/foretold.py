"""Where a fit expects keypoints that it has not seen, and how far off that may be.

What the fit leaves open moves the body's keypoints, J C J^T with C the inverse normal matrix at the minimum, and a
detection lies off the body's own keypoint by the measured noise (docs/keypoint_noise.md), sqrt(c) times less: together
the region that should hold it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.fit import Skelify
from pipeline.fit.skelify import Problem
from pipeline.fit.solver.image_objective import image_jacobian
from pipeline.image.camera import rough_camera
from pipeline.image.keypoint_error import usable_confidence, usable_places
from pipeline.image.keypoint_noise import keypoint_noise
from pipeline.labelling.evidence import Evidence, fitted
from schemas.skel import N_Q


class Foretold(NamedTuple):
    """Of N people: where their keypoints should be (N, 44, 2), crop units, and the covariance of what the fit leaves
    open (N, 44, 2, 2); not finite where the fit is not.
    """

    places: Float[Tensor, "N 44 2"]
    covariance: Float[Tensor, "N 44 2 2"]

    def squared_distance(self, keypoints: Float[Tensor, "N 44 3"]) -> Float[Tensor, "N 44"]:
        """Of detections, in standard deviations: chi-squared with two degrees of freedom, were all as stated. NaN for
        detections that are not usable.
        """
        confidence = usable_confidence(keypoints)
        noise = keypoint_noise().std.to(self.places).square() / confidence
        own = noise[..., None, None] * torch.eye(2).to(noise)
        away = usable_places(keypoints) - self.places
        known = (confidence > 0) & torch.isfinite(self.covariance).all(-1).all(-1) & torch.isfinite(away).all(-1)
        total = torch.where(known[..., None, None], self.covariance + own, torch.eye(2).to(noise))
        squared = (away * torch.linalg.solve(total, away)).sum(-1)
        return torch.where(known, squared, torch.nan)


def foretold(skelify: Skelify, seen: Evidence) -> Foretold:
    """By a fit from what the people are held to: neither start nor hold has seen a keypoint that `seen` lacks."""
    skel = skelify.model
    start = torch.cat([seen.anchor_q, seen.anchor_betas], 1)
    start = torch.where(torch.isfinite(seen.prediction_std), seen.prediction, start)
    q, betas = start[:, :N_Q], start[:, N_Q:]
    found = fitted(skelify, seen, q, betas, rough_camera(skel.keypoints(q, betas), seen.keypoints, seen.focal))
    anchor = seen.anchor(skel)
    at = found.q, found.betas, found.cam_t
    return at_minimum(skelify, skelify.problem(seen.keypoints, *at, anchor, seen.keypoints_3d, seen.focal))


def at_minimum(skelify: Skelify, problem: Problem) -> Foretold:
    """By the minimum of a problem, which is where it starts."""
    normal, focal = skelify.evaluate(problem.start, problem.terms).normal, problem.terms.focal
    places, jacobian = image_jacobian(skelify.model, *(x.to(skelify.model.dtype) for x in (problem.start, focal)))
    identity = torch.eye(normal.shape[-1]).to(normal)
    factor, info = torch.linalg.cholesky_ex(normal)
    known = ((info == 0) & torch.isfinite(factor).flatten(1).all(1))[:, None, None]
    whitened = torch.linalg.solve_triangular(
        torch.where(known, factor, identity), jacobian.to(normal).flatten(1, 2).mT, upper=False
    )
    whitened = whitened.mT.unflatten(1, jacobian.shape[1:3])
    covariance = torch.where(known[..., None], whitened @ whitened.mT, torch.nan)
    return Foretold(places, covariance.to(places))
