"""Small evaluation files in the formats of HMR2.0 and of HSMR's MOYO, with images and tiny networks to ask."""

from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from pipeline.body import load_skel
from pipeline.storage.opening import open_storage
from trainer.checkpoint import CheckpointInfo, save_checkpoint
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.variants import VARIANTS

PHOTO = (160, 120)  # width, height


def write_images(folder: Path, count: int) -> list[str]:
    """Photos with smooth content below `folder`; their names there."""
    (folder / "seq").mkdir(parents=True, exist_ok=True)
    names = [f"seq/{number:02d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(number))
        image = torch.nn.functional.interpolate(coarse, size=PHOTO[::-1], mode="bicubic").clamp(0, 1)
        pixels = np.ascontiguousarray((255 * image[0]).to(torch.uint8).permute(1, 2, 0).numpy())
        (folder / name).write_bytes(simplejpeg.encode_jpeg(pixels, quality=95))
    return names


def save_networks(folder: Path) -> dict[str, str]:
    """One checkpoint of each kind: HSMR as our training writes it, HMR2.0 as Lightning does."""
    torch.manual_seed(0)
    info = CheckpointInfo(
        variant="tiny", generation_snapshot_id=None, round=None, step=0, body_digest=load_skel().digest, config="",
        code_revision="test",
    )  # fmt: skip
    storage = open_storage(str(folder))
    save_checkpoint(storage, "hsmr.safetensors", Hsmr(VARIANTS["tiny"]), info)
    state = {name: value.clone() for name, value in Hmr2(VARIANTS["tiny"]).state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state | {"smpl.faces": torch.zeros(3)}}, folder / "hmr2.ckpt")
    return {"hsmr": str(folder / "hsmr.safetensors"), "hmr2": str(folder / "hmr2.ckpt")}


def boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """center (N, 2), width and height (N, 2), px; some reach beyond the photo."""
    rng = np.random.default_rng(5)
    return rng.uniform(40, 100, (count, 2)), rng.uniform(40, 110, (count, 2))


def hmr2_fields(names: list[str], **fields: Any) -> dict[str, Any]:
    """Those that every file has, and `fields`."""
    center, size = boxes(len(names))
    return {"imgname": np.array(names, dtype=np.bytes_), "center": center, "scale": size, **fields}


def moyo_fields(names: list[str], pose: np.ndarray | None = None, betas: np.ndarray | None = None) -> dict[str, Any]:
    """pose (N, 24, 3), betas (N, 10): the truth, by default a random one."""
    count, rng = len(names), np.random.default_rng(7)
    pose = rng.normal(0, 0.2, (count, 24, 3)) if pose is None else pose
    smpl = {
        "global_orient": pose[:, 0],
        "body_pose": pose[:, 1:].reshape(count, 69),
        "betas": rng.normal(0, 0.5, (count, 10)) if betas is None else betas,
    }
    center, size = boxes(count)
    return {
        "extra_info": np.array({"dataset_name": "moyo"}, object),
        "names": np.array([f"frame_{name}" for name in names]),
        "img_paths": np.array(names),
        "centers": center,
        "scales": size,
        "smpl": np.array(smpl, object),
    }
