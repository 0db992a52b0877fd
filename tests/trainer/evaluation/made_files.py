"""Small evaluation files in the formats of HMR2.0 and of HSMR's MOYO, with images and tiny networks to ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from pipeline.body import load_skel, load_smpl
from trainer.checkpoint import CheckpointInfo, save_checkpoint
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr
from trainer.network.variants import VARIANTS
from pipeline.storage.opening import open_storage

PHOTO = (160, 120)


@dataclass(frozen=True)
class Made:
    """Where things are: a folder of images and one npz."""

    images: Path
    data: Path


def write_images(folder: Path, count: int) -> list[str]:
    """Photos of 160 x 120 px with smooth content; every second one has EXIF data that would turn it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        coarse = torch.rand(1, 3, 6, 8, generator=generator)
        image = torch.nn.functional.interpolate(coarse, size=PHOTO[::-1], mode="bicubic").clamp(0, 1)
        pixels = np.ascontiguousarray((255 * image[0]).to(torch.uint8).permute(1, 2, 0).numpy())
        name = f"seq/{number:02d}.jpg"
        (folder / "seq").mkdir(exist_ok=True)
        (folder / name).write_bytes(simplejpeg.encode_jpeg(pixels, quality=95))
        names.append(name)
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
    """center, (width, height) px."""
    rng = np.random.default_rng(5)
    return rng.uniform(40, 100, (count, 2)), rng.uniform(40, 110, (count, 2))


def hmr2_fields(names: list[str], **fields: Any) -> dict[str, Any]:
    center, size = boxes(len(names))
    return {"imgname": np.array(names, dtype=np.bytes_), "center": center, "scale": size, **fields}
