"""A SKEL motion as files: npz and pickle of the keys of SKEL's tools, Parquet, OpenSim motion."""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Shaped

from pipeline.body.skel import Skel
from pipeline.export.coordinate_order import AngleOrder, opensim_angles
from pipeline.export.motion_file import Motion, motion_file
from pipeline.export.upright_axes import upright_to_ground
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.motions.convert_motion import SkelMotion
from schemas.arrow_types import float_vector
from schemas.skel import N_BETAS, N_Q

MotionFormat = Literal["npz", "pkl", "parquet", "mot"]
UpAxis = Literal["y", "z"]


MOTION_SCHEMA: Final = pa.schema(
    [
        pa.field("motion", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("time", pa.float64(), nullable=False),
        pa.field("q", float_vector(N_Q), nullable=False),
        pa.field("q_std", float_vector(N_Q), nullable=False),
        pa.field("betas", float_vector(N_BETAS), nullable=False),
        pa.field("trans", float_vector(3), nullable=False),
        pa.field("pelvis", float_vector(3), nullable=False),
        pa.field("pve_mean_mm", pa.float32(), nullable=False),
        pa.field("pve_max_mm", pa.float32(), nullable=False),
        pa.field("gender", pa.string(), nullable=False),
    ]
)
"""A row a frame; fields as in `SkelMotion`."""


def content(motion: SkelMotion, name: str, form: MotionFormat, *, skel: Skel, up: UpAxis, angles: AngleOrder) -> bytes:
    """The file of one format. skel, up, angles: for .mot alone, whose axes are OpenSim's, y up."""
    if form == "mot":
        return motion_file(_on_ground(motion, name, skel, up, angles))
    writers: Mapping[str, Callable[[], bytes]] = {
        "npz": lambda: _npz(_arrays(motion)),
        "pkl": lambda: pickle.dumps(_arrays(motion), protocol=4),
        "parquet": lambda: _parquet(motion, name),
    }
    return writers[form]()


def _arrays(motion: SkelMotion) -> dict[str, Shaped[np.ndarray, "..."] | str | float]:
    """poses (T, 46) rad, betas (T, 10), trans (T, 3) m, gender, mocap_framerate; pve_mean, pve_max (T,) m."""
    return {
        "poses": motion.q,
        "betas": np.tile(motion.betas, (len(motion.q), 1)),
        "trans": motion.trans,
        "gender": motion.gender,
        "mocap_framerate": motion.fps,
        "pve_mean": motion.pve_mean_mm / 1000,
        "pve_max": motion.pve_max_mm / 1000,
    }


def _npz(arrays: Mapping[str, object]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyrefly: ignore
    return file.getvalue()


def _parquet(motion: SkelMotion, name: str) -> bytes:
    count = len(motion.q)
    columns = [
        pa.repeat(pa.scalar(name), count),
        pa.array(np.arange(count, dtype=np.int32)),
        pa.array(motion.times),
        *(
            pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=float_vector(values.shape[1]))
            for values in (motion.q, motion.q_std, np.tile(motion.betas, (count, 1)), motion.trans, motion.pelvis)
        ),
        pa.array(motion.pve_mean_mm),
        pa.array(motion.pve_max_mm),
        pa.repeat(pa.scalar(motion.gender), count),
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=MOTION_SCHEMA), file, compression="zstd")
    return file.getvalue()


def _on_ground(motion: SkelMotion, name: str, skel: Skel, up: UpAxis, angles: AngleOrder) -> Motion:
    orientation, q = PelvisOrientation(skel.rig), torch.as_tensor(motion.q, dtype=skel.dtype)
    turned = orientation.to_q(torch.as_tensor(_TO_Y_UP[up], dtype=skel.dtype) @ orientation.matrix(q))
    q = torch.cat([turned, q[:, turned.shape[1] :]], 1)
    q = opensim_angles(q) if angles == "opensim" else q
    pelvis = upright_to_ground(motion.pelvis.astype(np.float64) @ _TO_Y_UP[up].T)
    return Motion(name=name, times=motion.times, q=q.double().numpy(), pelvis=pelvis)


_TO_Y_UP: Final[Mapping[UpAxis, Float[np.ndarray, "3 3"]]] = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),  # a quarter turn about x
}
