"""`network`: a training step and inference of the network, and the share of the machine's arithmetic that they use."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.report import Options, best_seconds, say, table
from pipeline.body import Skel, load_skel
from pipeline.image.camera import FOCAL
from schemas.person import PersonId
from schemas.skel import N_BETAS, N_JOINTS, N_Q
from trainer.data.batch import TrainBatch
from trainer.network.crop_input import normalise
from trainer.network.flops import forward_flops, training_flops, utilisation
from trainer.network.hsmr import Hsmr
from trainer.network.variants import VARIANTS, variant
from trainer.training.losses import LossConfig, loss_terms, pose_keypoints
from trainer.training.optimisation import make_optimizer
from trainer.training.train_config import OptimizerConfig
from trainer.training.trained_body import TrainedSkel

_PEAK_BF16 = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}
"""Dense bf16 operations per second of the SXM cards, from their data sheets."""
_MATRIX = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True)
class Work:
    """One row: a variant at a batch size, a training step or the forward pass."""

    variant: str
    batch: int
    training: bool
    recompute: bool = False
    compile: bool = False

    def __str__(self) -> str:
        what = "step" if self.training else "forward"
        extras = [name for name, on in (("recompute", self.recompute), ("compiled", self.compile)) if on]
        return " ".join([self.variant, what, *extras])


def run(options: Options) -> None:
    """Sizes, then times on the CPU, then on a GPU where there is one."""
    _sizes()
    cpu = torch.device("cpu")
    work = [Work("tiny", 32, True), Work("tiny", 32, False), Work("b", 4, False)]
    _table([Work("tiny", 2, True)] if options.quick else work, cpu, torch.float32, _measured_peak(cpu, torch.float32))
    say("Share: of the best float32 matrix product of this machine, measured in this run. A step is crop to AdamW.")
    if not torch.cuda.is_available():
        say("No GPU on this machine: GPU targets not measured (ViT-H bf16 on one H100: step >= 45 % MFU,")
        say("inference >= 1,200 crops/s).")
        return
    _gpu(options)


def _gpu(options: Options) -> None:
    device, name = torch.device("cuda"), torch.cuda.get_device_name()
    listed = next((peak for card, peak in _PEAK_BF16.items() if card in name), None)
    work = [
        Work("h", 64, True),
        Work("h", 64, True, compile=True),
        Work("h", 128, True, recompute=True),
        Work("h", 128, True, recompute=True, compile=True),
        Work("h", 256, False),
        Work("h", 256, False, compile=True),
    ]
    peak = listed or _measured_peak(device, torch.bfloat16)
    _table([Work("tiny", 2, True)] if options.quick else work, device, torch.bfloat16, peak)
    source = "the card's data sheet" if listed else "a measured bf16 matrix product: the card's peak is not in our list"
    say(f"{name}; share of {peak / 1e12:.0f} TFLOP/s ({source}).")
    say("Targets on one H100: ViT-H step >= 45 %, inference >= 1,200 crops/s.")


def _sizes() -> None:
    rows = []
    for name, config in VARIANTS.items():
        with torch.device("meta"):
            count = sum(p.numel() for p in Hsmr(config).parameters())
        rows.append([name, f"{count / 1e6:.1f}", *(f"{f(config) / 1e9:.2f}" for f in (forward_flops, training_flops))])
    table(["variant", "M weights", "GFLOP/crop", "GFLOP/crop trained"], rows)


def _table(work: list[Work], device: torch.device, precision: torch.dtype, peak: float) -> None:
    skel = load_skel().to(device)
    rows = []
    for item in work:
        seconds = best_seconds(_prepared(item, skel, device, precision), repeats=3)
        rate = item.batch / seconds
        share = utilisation(variant(item.variant), rate, peak, training=item.training)
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.0f}" if device.type == "cuda" else ""
        rows.append([str(item), str(item.batch), f"{1000 / rate:.2f}", f"{rate:,.1f}", f"{share:.0%}", memory])
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
    dtype = str(precision).removeprefix("torch.")
    table([f"{device.type}, {dtype}", "batch", "ms/crop", "crops/s", "share of peak", "GB"], rows)


def _prepared(work: Work, skel: Skel, device: torch.device, precision: torch.dtype) -> Callable[[], object]:
    network = Hsmr(variant(work.variant), recompute=work.recompute).to(device).train(work.training)
    if work.compile:
        network.backbone.compile()  # where the time goes; the head's many small operations take minutes to compile
    batch = _batch(work.batch, device)
    mixed = precision == torch.bfloat16

    def forward() -> object:
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=mixed):
            return network(normalise(batch.patches, batch.color_scale))

    optimizer = make_optimizer(network, OptimizerConfig())

    def step() -> None:
        with torch.autocast(device.type, precision, enabled=mixed):
            predicted = network(normalise(batch.patches, batch.color_scale))
        loss = loss_terms(predicted, pose_keypoints(TrainedSkel(skel), predicted), batch).total(LossConfig())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step if work.training else forward


def _batch(count: int, device: torch.device) -> TrainBatch:
    """Noise for photos: the time does not depend on what is in them."""
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> torch.Tensor:
        return (0.1 * torch.randn(count, *size, generator=generator)).to(device)

    return TrainBatch(
        ids=tuple(PersonId("noise", "noise", str(i), 0) for i in range(count)),
        patches=torch.randint(0, 256, (count, 3, 256, 256), generator=generator, dtype=torch.uint8).to(device),
        color_scale=1 + noise(3),
        keypoints_2d=noise(44, 3).abs(),
        keypoints_3d=noise(44, 4).abs(),
        q=noise(N_Q),
        q_std=noise(N_Q).abs(),
        female=torch.zeros(count, dtype=torch.bool, device=device),
        betas=noise(N_BETAS),
        has_label=torch.ones(count, dtype=torch.bool, device=device),
        joint_weight=torch.ones(count, N_JOINTS, device=device),
        betas_weight=torch.ones(count, device=device),
        focal=torch.full((count,), FOCAL, device=device),
        ray=torch.zeros(count, 2, device=device),
    )


def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, the best of a second's worth of them."""
    n = _MATRIX[device.type]
    a = torch.randn(n, n, device=device, dtype=dtype)
    best, end = float("inf"), time.perf_counter() + 1
    while time.perf_counter() < end:
        best = min(best, best_seconds(lambda: a @ a, repeats=3))
    return 2 * n**3 / best
