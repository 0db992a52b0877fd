"""SKELify for several calibrated cameras: one pose, one shape and one place that all views agree with.

  sum over views of sum_k c_k rho(|project_v(X_k) - keypoint_vk| / noise)   Geman-McClure, as in `Skelify`
+ |(q - q_mean) / anchor_std|^2 + |betas / betas_std|^2                     holds what no view sees

The pelvis and the place are free: the cameras tell them. Depth, which one view must guess, is measured here.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.objectives.robust_objective import keypoint_weight
from pipeline.fit.skelify import SkelifyConfig
from pipeline.fit.solver.joint_limits import fit_bounds
from pipeline.fit.solver.orientation import PelvisOrientation, spin_jacobian
from pipeline.fit.solver.solver_dtype import in_solver_dtype
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.image.keypoint_error import usable_places
from pipeline.numerics.levenberg_marquardt import Linearised, LmConfig, Minimum, minimise
from schemas.skel import N_BETAS, N_Q, N_UNLIMITED, q_limits

_TRANS = N_Q + N_BETAS
_BY_DEFAULT = SkelifyConfig(noise="uniform", kernel_scale=0.025)
"""Views that agree are believed further than one alone (docs/real_truth.md)."""
_MIN_DEPTH = 0.1  # m; keeps a point behind a camera from flipping through the image plane
_COARSE = LmConfig(max_iterations=30, relative_tolerance=1e-2, initial_damping=1e-4)
_FINE = LmConfig(max_iterations=60, relative_tolerance=1e-6, initial_damping=1e-4)


class Views(NamedTuple):
    """V cameras on B people: keypoints (B, V, 44, 3) crop units and confidence, 0 where a view has none; focal (B, V)
    crop units; rotation (B, V, 3, 3) and translation (B, V, 3) m: world to the person's crop camera in each view.
    """

    keypoints: Float[Tensor, "B V 44 3"]
    focal: Float[Tensor, "B V"]
    rotation: Float[Tensor, "B V 3 3"]
    translation: Float[Tensor, "B V 3"]

    def rows(self, people: Int[Tensor, "A"]) -> "Views":
        """Those of some of the people."""
        return Views(*(x[people] for x in self))


class MultiViewResult(NamedTuple):
    """In world axes: q (B, 46) rad, betas (B, 10), trans (B, 3) m; cost (B,) in squared standard deviations."""

    q: Float[Tensor, "B 46"]
    betas: Float[Tensor, "B 10"]
    trans: Float[Tensor, "B 3"]
    cost: Float[Tensor, "B"]


class MultiViewFit:
    """Fits people whom several calibrated cameras see at the same moment.

    >>> seen = [skelify.fit_from_mean_pose(keypoints[:, v]) for v in range(V)]      # each view alone
    >>> starts = [fit.into_world(v, r.q, r.betas, r.cam_t, views) for v, r in enumerate(seen)]
    >>> fit.fit(views, torch.stack(starts, 1))
    """

    def __init__(self, model: Skel, config: SkelifyConfig | None = None):
        self.model, self.config = in_solver_dtype(model), config or _BY_DEFAULT
        self.orientation = PelvisOrientation(self.model.rig)
        self._bounds = fit_bounds(self.model.rig.sources)
        self._anchor, self._precision = self._hold()

    def into_world(
        self,
        view: int,
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        cam_t: Float[Tensor, "B 3"],
        views: Views,
    ) -> Float[Tensor, "B 59"]:
        """What one view says of everybody, as a start: (q, betas, trans) in world axes."""
        q, betas, cam_t = (x.to(self._anchor) for x in (q, betas, cam_t))
        back = views.rotation[:, view].mT
        turned = self.orientation.to_q(back @ self.orientation.matrix(q))
        root = self.model.rig.joint_template[0] + betas @ self.model.rig.joint_dirs[0].mT
        place = (back @ (root + cam_t - views.translation[:, view])[..., None]).squeeze(-1) - root
        return torch.cat([turned, q[:, N_UNLIMITED:], betas, place], 1)

    def fit(self, views: Views, starts: Float[Tensor, "B S 59"]) -> MultiViewResult:
        """The lowest of the minima that the starts (see `into_world`) lead to, person by person."""
        people, count = starts.shape[:2]
        rows = torch.arange(people).repeat_interleave(count)
        everywhere = views.rows(rows)
        found = self._minimise(everywhere, starts.flatten(0, 1), self.config.coarse_kernel_scale, _COARSE)
        found = self._minimise(everywhere, found.x, self.config.kernel_scale, _FINE)
        best = found.cost.nan_to_num(torch.inf).reshape(people, count).argmin(1) + torch.arange(people) * count
        x = found.x[best]
        return MultiViewResult(x[:, :N_Q], x[:, N_Q:_TRANS], x[:, _TRANS:], found.cost[best])

    def _minimise(self, views: Views, start: Tensor, scale: float, stop: LmConfig) -> Minimum:
        def evaluate(x: Tensor, people: Tensor) -> Linearised:
            return self.linearise(x, views.rows(people), scale)

        return minimise(evaluate, self.orientation.retract, start, stop, self._bounds)

    def linearise(self, x: Float[Tensor, "B 59"], views: Views, kernel_scale: float) -> Linearised:
        """Cost, gradient and normal matrix in (spin, q[3:], betas, trans)."""
        q, betas, trans = x[:, :N_Q], x[:, N_Q:_TRANS], x[:, _TRANS:]
        found = self.model.keypoints_and_jacobian(q, betas)
        body = spin_jacobian(self.model.rig, found, betas)
        moves = torch.eye(3, dtype=x.dtype).expand(*body.shape[:2], 3, 3)
        body, points = torch.cat([body, moves], -1), found.points + trans[:, None]
        away = x - self._anchor
        cost = (self._precision * away.square()).sum(1)
        gradient, normal = self._precision * away, torch.diag_embed(self._precision.expand_as(x))
        for view in range(views.focal.shape[1]):
            part = self._view(points, body, Views(*(item[:, view : view + 1] for item in views)), kernel_scale)
            cost, gradient, normal = cost + part.cost, gradient + part.gradient, normal + part.normal
        return Linearised(cost, gradient, normal)

    def _view(self, points: Tensor, body: Tensor, view: Views, scale: float) -> Linearised:
        rotation, keypoints = view.rotation[:, 0], view.keypoints[:, 0]
        seen = points @ rotation.mT + view.translation
        by_x = rotation[:, None] @ body
        depth = seen[..., 2:].clamp_min(_MIN_DEPTH)
        away = view.focal[:, :, None] * seen[..., :2] / depth
        slope = (
            view.focal[:, :, None, None]
            * (by_x[..., :2, :] - (seen[..., :2] / depth)[..., None] * by_x[..., 2:, :])
            / depth[..., None]
        )
        residual = away - usable_places(keypoints)
        squared = residual.square().sum(-1)
        half = scale**2 / (scale**2 + squared)
        weight = keypoint_weight(self.config, keypoints)
        pull = (weight * half.square())[..., None]
        weighted = (slope * pull[..., None]).flatten(1, 2)
        gradient = (weighted.mT @ residual.flatten(1)[..., None]).squeeze(-1)
        return Linearised((weight * half * squared).sum(1), gradient, weighted.mT @ slope.flatten(1, 2))

    def _hold(self) -> tuple[Tensor, Tensor]:
        """anchor and precision (59,): the mean pose and shape; nothing holds the pelvis and the place."""
        like = self.model.rig.sources
        low, high = (torch.as_tensor(limit).to(like) for limit in q_limits())
        reach = ((high - low) / 1.5).clamp_max(1.0)
        precision = like.new_zeros(_TRANS + 3)
        precision[N_UNLIMITED:N_Q] = (self.config.unlabelled_anchor_std * reach[N_UNLIMITED:]) ** -2
        precision[N_Q:_TRANS] = self.config.betas_std**-2
        anchor = like.new_zeros(_TRANS + 3)
        anchor[:N_Q] = mean_q().to(like)
        return anchor, precision
