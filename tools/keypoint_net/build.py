"""Build the keypoint net's starting weights: `python -m tools.keypoint_net.build --work DIR`.

The net learns to find keypoints in made people of seeds 1001 and on, 2,000 each: the part that ViTPose's pretraining
has for the ViT. Nothing of SKEL is in it: what there is to learn of poses it learns from the labels of a round.
"""

import argparse
import math
import time
from copy import deepcopy
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.image.confidence import counted_confidence
from pipeline.image.crop import CROP_PX
from tools.keypoint_net.pictures import Pictures, make_pictures, windows
from trainer.network.crop_input import normalised
from trainer.network.keypoint_net import KEYPOINT_NET_FILE, MINI, KeypointNet, cell_centres
from trainer.network.vit import GRID
from trainer.training.optimisation import WeightAverage

PEOPLE: Final = 2000
HELD_OUT: Final = 200
BATCH: Final = 32
EPOCHS: Final = 30
RATE: Final = 2e-3


def learn(net: KeypointNet, pictures: Pictures, epochs: int, seed: int = 0) -> KeypointNet:
    """AdamW with a cosine schedule; averaged weights. Prints the held-out error of each epoch."""
    training, held_out = pictures.split(HELD_OUT)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    average, judged = WeightAverage(net, 0.998), deepcopy(net)
    per_epoch = len(training.pixels) // BATCH
    started = time.monotonic()
    for epoch in range(epochs):
        for number, rows in enumerate(torch.randperm(len(training.pixels), generator=rng).split(BATCH)[:per_epoch]):
            done = (epoch * per_epoch + number) / (epochs * per_epoch)
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, 50 * done + 0.02) * (0.5 + 0.5 * math.cos(math.pi * done))
            loss = heat_loss(net, *windows(training, rows, rng))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average.update(net)
        judged.load_state_dict(average.weights)
        print(f"epoch {epoch + 1}/{epochs}  loss {loss.item():.3f}  {held_out_error(judged, held_out)}  "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
    net.load_state_dict(average.weights)
    return net


def heat_loss(net: KeypointNet, pixels: Float[Tensor, "B 3 128 96"], keypoints: Float[Tensor, "B 44 3"]) -> Tensor:
    """Cross-entropy of the heat maps and the four cells that a keypoint lies between, over those that are seen."""
    heat = net.see(normalised(pixels)).heat
    rows, columns = GRID
    place = keypoints[..., :2] * rows + torch.tensor([columns, rows]) / 2 - 0.5
    inside = ((place > -0.5) & (place < torch.tensor([columns, rows]) - 0.5)).all(2)
    place = torch.minimum(place.clamp_min(0), torch.tensor([columns, rows]) - 1.001)
    low, share = place.floor(), place - place.floor()
    loss = torch.zeros(place.shape[:2])
    for across in (0, 1):
        for down in (0, 1):
            weight = (share[..., 0] if across else 1 - share[..., 0]) * (share[..., 1] if down else 1 - share[..., 1])
            cell = ((low[..., 1] + down) * columns + low[..., 0] + across).long()
            loss = loss - weight * heat.gather(2, cell[..., None])[..., 0]
    counts = (inside & (counted_confidence(keypoints[..., 2]) > 0)).float()
    return (loss * counts).sum() / counts.sum().clamp_min(1)


@torch.no_grad()
def held_out_error(net: KeypointNet, pictures: Pictures) -> str:
    """Mean and median distance in px of the crop, and the share within 5 % of its side."""
    pixels, keypoints = windows(pictures, torch.arange(len(pictures.pixels)), None)
    found = net.see(normalised(pixels)).heat.exp() @ cell_centres()
    apart = (found - keypoints[..., :2]).norm(dim=2)[counted_confidence(keypoints[..., 2]) > 0] * CROP_PX
    right = (apart < 0.05 * CROP_PX).float().mean()
    return f"held out: mean {apart.mean():.1f} px, median {apart.median():.1f} px, PCK@0.05 {right:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the made people, kept for another time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1001, 1002])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--output", type=Path, default=KEYPOINT_NET_FILE)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = learn(KeypointNet(MINI), make_pictures(options.work, PEOPLE, options.seeds), options.epochs)
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    safetensors.torch.save_file(weights, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
