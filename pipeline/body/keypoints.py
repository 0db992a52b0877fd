"""The collapsed keypoint operator (docs/body_model.md): 44 keypoints and their Jacobian without posing the mesh.

A keypoint is x_k = sum_v K_kv v_v, a posed vertex v_v = sum_b w_vb (R_b (p_v - J_b) + t_b) with p_v = template_v +
shapedirs_v betas + posedirs_v f. Exchanging the sums gives x_k = sum_b R_b (A_kb [1, betas, f]) + c_kb t_b, where
A_kb = sum_v K_kv w_vb (p_v - J_b) and c_kb = sum_v K_kv w_vb are constants. Only the (keypoint, bone) pairs that carry
weight are stored: about 3.4 bones a keypoint.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from pipeline.body import kinematics
from pipeline.body.arrays import Array, SkelArrays
from pipeline.body.keypoint_loop import points_and_jacobian
from pipeline.body.keypoint_tables import KeypointTables
from pipeline.body.kinematics import JOINT_OF_DOF, BoneTransforms, LocalMotion, RestPose, Rig
from pipeline.body.rotations import skew
from schemas.skel import N_BETAS, N_Q


class KeypointsAndJacobian(NamedTuple):
    """X (B, 44, 3) m, dX/dq (B, 44, 3, 46) m/rad, dX/dbetas (B, 44, 3, 10) m per standard deviation."""

    points: Float[Tensor, "B K 3"]
    by_q: Float[Tensor, "B K 3 46"]
    by_betas: Float[Tensor, "B K 3 10"]


@dataclass(frozen=True)
class KeypointOperator:
    """Constants of P (keypoint, bone) pairs and of S joints that drive pose correctives.

    affine (1 + 10 + 9 S, P * 3): coefficients of [1, betas, f] in the bone's T-pose frame, joint position subtracted;
    mass (P,) = c_kb; keypoint, bone (P,) the pair; moved (P, M) sums pairs to M (keypoint, joint) moments: what of
    keypoint k moves with joint j; moment_keypoint, moment_joint (M,) name them, moment_mass (M,) = c_kS.
    """

    affine: Float[Tensor, "features pairs_xyz"]
    mass: Float[Tensor, "P"]
    keypoint: Int[Tensor, "P"]
    bone: Int[Tensor, "P"]
    moved: Float[Tensor, "P M"]
    moment_keypoint: Int[Tensor, "M"]
    moment_joint: Int[Tensor, "M"]
    moment_mass: Float[Tensor, "M"]
    corrective_joints: tuple[int, ...]
    n_keypoints: int
    tables: KeypointTables

    @classmethod
    def collapse(
        cls,
        regressor: Float64[np.ndarray, "K V"],
        arrays: SkelArrays,
        posedirs: Float64[np.ndarray, "V 3 features"],
        corrective_joints: tuple[int, ...],
        rig: Rig,
    ) -> "KeypointOperator":
        """Sum the mesh away, in float64. regressor (K, 6890); posedirs (6890, 3, 9 S) of the corrective joints."""
        mass = regressor @ arrays.skin_weights
        keypoint, bone = np.nonzero(np.abs(regressor) @ (arrays.skin_weights != 0))
        weights = regressor[keypoint] * arrays.skin_weights.T[bone]
        affine = np.concatenate([arrays.template[..., None], arrays.shapedirs[..., :N_BETAS], posedirs], -1)
        collapsed = (weights @ affine.reshape(len(affine), -1)).reshape(len(bone), 3, -1)
        joints = np.concatenate([arrays.template[..., None], arrays.shapedirs[..., :N_BETAS]], -1)
        joints = (arrays.joint_regressor @ joints.reshape(len(joints), -1)).reshape(-1, 3, 1 + N_BETAS)
        pair_mass = mass[keypoint, bone]
        collapsed[..., : 1 + N_BETAS] -= pair_mass[:, None, None] * joints[bone]
        return cls._of_pairs(collapsed, pair_mass, keypoint, bone, corrective_joints, rig, len(regressor))

    @classmethod
    def _of_pairs(
        cls,
        affine: Array,
        mass: Array,
        keypoint: np.ndarray,
        bone: np.ndarray,
        corrective: tuple[int, ...],
        rig: Rig,
        count: int,
    ) -> "KeypointOperator":
        moves = np.array(kinematics.subtree_table())[:, bone]
        moments = sorted({(int(keypoint[p]), int(j)) for j, p in zip(*np.nonzero(moves), strict=True)})
        moved = np.array([(keypoint == k) & moves[j] for k, j in moments]).T.astype(np.float64)
        like = rig.joint_template

        def tensor(x: Array) -> Tensor:
            return torch.as_tensor(x, dtype=like.dtype, device=like.device)

        def index(x: object) -> Tensor:
            return torch.as_tensor(np.asarray(x), dtype=torch.int64, device=like.device)

        return cls(
            affine=tensor(affine.reshape(-1, affine.shape[-1]).T.copy()),
            mass=tensor(mass),
            keypoint=index(keypoint),
            bone=index(bone),
            moved=tensor(moved),
            moment_keypoint=index([k for k, _ in moments]),
            moment_joint=index([j for _, j in moments]),
            moment_mass=tensor(mass @ moved),
            corrective_joints=corrective,
            n_keypoints=count,
            tables=_loop_tables(affine, mass, keypoint, bone, corrective, rig, moments),
        )

    def points(
        self, rest: RestPose, motion: LocalMotion, world: BoneTransforms, betas: Float[Tensor, "B 10"]
    ) -> Float[Tensor, "B K 3"]:
        """Keypoints (B, K, 3) m without trans."""
        return self._gather(self._pairs(motion, world, betas))

    def _pairs(self, motion: LocalMotion, world: BoneTransforms, betas: Tensor) -> Tensor:
        """Contribution of each (keypoint, bone) pair (B, P, 3): R_b A_kb [1, betas, f] + c_kb t_b."""
        local = self._local(motion, betas)
        turned = (world.rotations[:, self.bone] @ local[..., None]).squeeze(-1)
        return turned + self.mass[:, None] * world.translations[:, self.bone]

    def _local(self, motion: LocalMotion, betas: Tensor) -> Tensor:
        eye = torch.eye(3, dtype=betas.dtype, device=betas.device)
        feature = (motion.rotations[:, list(self.corrective_joints)] - eye).flatten(1)
        inputs = torch.cat([torch.ones_like(betas[:, :1]), betas, feature], 1)
        return (inputs @ self.affine).unflatten(-1, (-1, 3))

    def _gather(self, pairs: Tensor) -> Tensor:
        """Sum pairs (B, P, ...) to keypoints (B, K, ...)."""
        out = pairs.new_zeros(pairs.shape[0], self.n_keypoints, *pairs.shape[2:])
        return out.index_add(1, self.keypoint, pairs)

    def points_and_jacobian(
        self, rig: Rig, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]
    ) -> KeypointsAndJacobian:
        """Keypoints with their complete analytic derivatives in q and betas (docs/body_model.md).

        On the CPU by the compiled loop; on a GPU, or where autograd is to go through the derivative, in torch.
        """
        differentiated = torch.is_grad_enabled() and (q.requires_grad or betas.requires_grad)
        return self.in_torch(rig, q, betas) if q.is_cuda or differentiated else self.compiled(q, betas)

    def in_torch(self, rig: Rig, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> KeypointsAndJacobian:
        """`points_and_jacobian` as batched tensor operations."""
        rest = kinematics.rest_pose(rig, betas)
        motion = kinematics.local_motion(rig, rest, q)
        world = kinematics.forward_kinematics(motion)
        pairs = self._pairs(motion, world, betas)
        moments = torch.einsum("bpc,pm->bmc", pairs, self.moved)
        arms = moments - self.moment_mass[:, None] * world.translations[:, self.moment_joint]
        slopes = self._corrective_slopes(world)
        parents = kinematics.parent_rotations(world)
        by_q = self._by_q(rig, rest, motion, world, q, arms, parents, slopes)
        by_betas = self._by_betas(rig, rest, motion, world, q, arms, parents, slopes)
        return KeypointsAndJacobian(self._gather(pairs), by_q, by_betas)

    def _corrective_slopes(self, world: BoneTransforms) -> Tensor:
        """dX/df (B, K, 3, S, 9): how the keypoints move with the rotation matrix of each corrective joint."""
        count = len(self.corrective_joints)
        coefficients = self.affine[1 + N_BETAS :].T.reshape(-1, 3, 9 * count)
        turned = world.rotations[:, self.bone] @ coefficients
        return self._gather(turned).unflatten(-1, (count, 9))

    def _by_q(
        self,
        rig: Rig,
        rest: RestPose,
        motion: LocalMotion,
        world: BoneTransforms,
        q: Tensor,
        arms: Tensor,
        parents: Tensor,
        slopes: Tensor,
    ) -> Tensor:
        """dx_k/dq_d = w_d x (moment arm of k about the joint of d) + c_kS dt/dq + pose correctives."""
        spin = kinematics.local_spin(rig, rest, q)
        local_axes = kinematics.of_dofs(spin.axes)
        axes = kinematics.of_dofs(parents @ spin.axes)
        shifts = kinematics.of_dofs(parents @ spin.translations)
        arm, mass = self._dense_moments(arms)
        joint = list(JOINT_OF_DOF)
        rigid = torch.linalg.cross(axes[:, None], arm[:, :, joint])
        rigid = rigid + mass[:, joint, None] * shifts[:, None]
        by_q = rigid.transpose(-1, -2)
        for slot, j in enumerate(self.corrective_joints):
            dofs = [d for d in range(N_Q) if JOINT_OF_DOF[d] == j]
            turning = skew(local_axes[:, dofs]) @ motion.rotations[:, j, None]
            by_q[..., dofs] += torch.einsum("bkcn,bdn->bkcd", slopes[:, :, :, slot], turning.flatten(-2))
        return by_q

    def _dense_moments(self, arms: Tensor) -> tuple[Tensor, Tensor]:
        """Moment arms (B, K, 24, 3) and masses (K, 24), zero where the keypoint does not move with the joint."""
        dense = arms.new_zeros(arms.shape[0], self.n_keypoints, 24, 3)
        dense[:, self.moment_keypoint, self.moment_joint] = arms
        mass = self.moment_mass.new_zeros(self.n_keypoints, 24)
        mass[self.moment_keypoint, self.moment_joint] = self.moment_mass
        return dense, mass

    def _by_betas(
        self,
        rig: Rig,
        rest: RestPose,
        motion: LocalMotion,
        world: BoneTransforms,
        q: Tensor,
        arms: Tensor,
        parents: Tensor,
        slopes: Tensor,
    ) -> Tensor:
        """Shape moves the points, the joints, and (through the bone frames) the axes that joints turn about."""
        rest_by_betas = kinematics.rest_spin(rig, rest)
        # R_j = M Rp M^T with d(M) = [spin]x M, hence d(R_j) = [spin - R_j spin]x R_j
        local_spin = rest_by_betas.spin - motion.rotations @ rest_by_betas.spin
        spin = parents @ local_spin
        shift = parents @ kinematics.translation_shape_derivatives(rest, rest_by_betas, q)
        arm, mass = self._dense_moments(arms)
        batch = arm.shape[0]
        levers = -skew(arm).transpose(2, 3).reshape(batch, -1, 72)  # (B, K * 3, 24 * 3)
        by_betas = (levers @ spin.reshape(batch, 72, N_BETAS)).reshape(batch, self.n_keypoints, 3, N_BETAS)
        by_betas = by_betas + torch.einsum("kj,bjcs->bkcs", mass, shift)
        surface = self.affine[1 : 1 + N_BETAS].T.reshape(-1, 3, N_BETAS)
        by_betas = by_betas + self._gather(world.rotations[:, self.bone] @ surface)
        for slot, j in enumerate(self.corrective_joints):
            turning = skew(local_spin[:, j].mT) @ motion.rotations[:, j, None]
            by_betas = by_betas + torch.einsum("bkcn,bsn->bkcs", slopes[:, :, :, slot], turning.flatten(-2))
        return by_betas

    def compiled(self, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> KeypointsAndJacobian:
        """`points_and_jacobian` by the compiled loop, for tensors on the CPU."""
        q_array, betas_array = (x.detach().contiguous().numpy() for x in (q, betas))
        arrays = points_and_jacobian(q_array, betas_array, self.tables, self.n_keypoints, torch.get_num_threads())
        return KeypointsAndJacobian(*(torch.from_numpy(array) for array in arrays))


def _loop_tables(
    affine: Array,
    mass: Array,
    keypoint: np.ndarray,
    bone: np.ndarray,
    corrective: tuple[int, ...],
    rig: Rig,
    moments: list[tuple[int, int]],
) -> KeypointTables:
    """The operator's constants as the compiled loop reads them, zero pose correctives left out."""
    dtype = rig.joint_template.cpu().numpy().dtype
    place = {pair: i for i, pair in enumerate(moments)}
    ancestors = [[j for j in range(24) if kinematics.subtree_table()[j][b]] for b in range(24)]
    longest = max(len(a) for a in ancestors)
    pair_moments = np.full((len(bone), longest + 1), -1)
    for p, (k, b) in enumerate(zip(keypoint, bone, strict=True)):
        pair_moments[p, : len(ancestors[b])] = [place[int(k), j] for j in ancestors[b]]
    coefficients = affine[..., 1 + N_BETAS :].reshape(len(bone), 3, len(corrective), 9).transpose(0, 2, 1, 3)
    block_pair, slot = np.nonzero(np.abs(coefficients).max((2, 3)) > 0)
    block_joint = np.array(corrective)[slot]
    sums = sorted({(int(keypoint[p]), int(j)) for p, j in zip(block_pair, block_joint, strict=True)})
    sum_place = {pair: i for i, pair in enumerate(sums)}
    block_sum = [sum_place[int(keypoint[p]), int(j)] for p, j in zip(block_pair, block_joint, strict=True)]

    def real(x: object) -> np.ndarray:
        return np.ascontiguousarray(torch.as_tensor(x).cpu().numpy(), dtype=dtype)

    def index(x: object) -> np.ndarray:
        return np.ascontiguousarray(x, dtype=np.int64)

    return KeypointTables(
        joint_template=real(rig.joint_template),
        joint_dirs=real(rig.joint_dirs),
        bone_rotations=real(rig.bone_rotations),
        apose_rotations=real(rig.apose_rotations),
        axes=real(rig.axes),
        sources=real(rig.sources / rig.sources.norm(dim=-1, keepdim=True)),
        turned=real(rig.turned),
        pair_keypoint=index(keypoint),
        pair_bone=index(bone),
        pair_mass=real(mass),
        pair_point=real(affine[..., 0]),
        pair_shape=real(affine[..., 1 : 1 + N_BETAS]),
        pair_moments=index(pair_moments),
        moment_keypoint=index([k for k, _ in moments]),
        moment_joint=index([j for _, j in moments]),
        moment_mass=real([mass[(keypoint == k) & np.isin(bone, _subtree(j))].sum() for k, j in moments]),
        block_pair=index(block_pair),
        block_joint=index(block_joint),
        block_sum=index(block_sum),
        block_coefficients=real(coefficients[block_pair, slot]),
        sum_keypoint=index([k for k, _ in sums]).reshape(-1),
        sum_joint=index([j for _, j in sums]).reshape(-1),
    )


def _subtree(joint: int) -> list[int]:
    return [b for b in range(24) if kinematics.subtree_table()[joint][b]]
