"""What the keypoint net learns from: windows whose keypoints stay on what they mark, and a loss that is least there."""

import torch

from schemas.keypoints import FLIP_PERMUTATION, N_KEYPOINTS
from tools.keypoint_net.build import heat_loss
from tools.keypoint_net.pictures import WIDE, Pictures, windows
from trainer.network.keypoint_net import MINI, KeypointNet, Seen, cell_centres


def marked(place: tuple[float, float], count: int) -> Pictures:
    """People who are a bright spot at this place, crop units, where all of their keypoints are."""
    pixels = torch.zeros(count, 3, 256, 256, dtype=torch.uint8)
    column, row = (round(256 * (x / WIDE + 0.5) - 0.5) for x in place)
    pixels[:, :, row - 2 : row + 3, column - 2 : column + 3] = 255
    keypoints = torch.tensor([*place, 1.0]).expand(count, N_KEYPOINTS, 3).clone()
    return Pictures(pixels, keypoints)


def brightest(seen: torch.Tensor) -> torch.Tensor:
    """Where the spot is, crop units (B, 2)."""
    share = seen.sum(1).flatten(1) / seen.sum((1, 2, 3))[:, None]
    y, x = torch.meshgrid((torch.arange(128) + 0.5) / 128 - 0.5, (torch.arange(96) + 0.5) / 128 - 0.375, indexing="ij")
    return share @ torch.stack([x.flatten(), y.flatten()], 1)


def test_keypoints_go_where_the_picture_goes() -> None:
    pictures = marked((0.1, -0.15), 16)
    for rng in (None, torch.Generator().manual_seed(0)):
        seen, keypoints = windows(pictures, torch.arange(16), rng)
        assert seen.shape == (16, 3, 128, 96)
        torch.testing.assert_close(keypoints[:, 0, :2], brightest(seen), atol=0.01, rtol=0)
    assert keypoints[:, 0, :2].std(0).min() > 0.02, "they are turned, scaled and mirrored"


def test_mirrored_people_have_their_sides_exchanged() -> None:
    pictures = marked((0.1, 0.0), 32)
    pictures.keypoints[..., 1] = torch.arange(N_KEYPOINTS) / 1000
    _, keypoints = windows(pictures, torch.arange(32), torch.Generator().manual_seed(0))
    flipped = keypoints[:, 0, 0] < 0
    assert 0 < flipped.sum() < 32
    order = torch.tensor(FLIP_PERMUTATION)
    upright = keypoints[flipped][(keypoints[flipped][:, :, 0].std(1) < 1e-6)]  # not turned: heights keep their order
    assert len(upright) > 0
    assert (upright[:, order, 1].diff(dim=1) > 0).all()


def test_the_loss_is_least_where_the_keypoints_are() -> None:
    net, place = KeypointNet(MINI), cell_centres()[100]
    keypoints = torch.cat([place, torch.ones(1)]).expand(2, N_KEYPOINTS, 3)

    def loss_at(cell: int) -> float:
        logits = torch.zeros(2, N_KEYPOINTS, 192)
        logits[..., cell] = 10.0
        net.see = lambda shrunk: Seen(logits.log_softmax(2), torch.zeros(2, 192, MINI.dim))  # type: ignore[method-assign]
        return float(heat_loss(net, torch.zeros(2, 3, 128, 96), keypoints))

    assert loss_at(100) < 0.02 < 5 < loss_at(101)
    absent = keypoints * torch.tensor([1.0, 1.0, 0.1])
    assert float(heat_loss(net, torch.zeros(2, 3, 128, 96), absent)) == 0
