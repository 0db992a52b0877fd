"""`data`: crops a second that one core makes for training, and what the join takes, beside a plain webdataset loop."""

import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import webdataset as wds
from PIL import Image

from benchmarks.report import Options, say, table, times
from pipeline.labelling.batches import LabelBatch
from pipeline.labels.files.staging import encode
from pipeline.shards import RawSample, list_shards, person_record, read_shard, write_shard
from schemas.input_shard import ShardId
from schemas.keypoints import N_KEYPOINTS
from schemas.labels import Decision, StartSource
from schemas.person import PersonId, Photo
from schemas.skel import N_BETAS, N_Q
from trainer.data import LabelIndex, TrainDataConfig, open_epoch
from trainer.data.augmentation import augmented_crop, draw
from trainer.data.decode import Picture, dct_factor, decode_photo
from trainer.data.join import ShardLabels
from trainer.data.label_index import index_labels
from trainer.data.patch import cut_patch

_WIDTH, _HEIGHT, _QUALITY, _PEOPLE = 1280, 854, 90, 2
_SIDES = (500.0, 800.0)
_REAL_PHOTOS = "data/real_photos"
_DATASET = "bench"


def run(options: Options) -> None:
    """Print crops per second of CPU time, ours and the baselines', and what the join takes of ours."""
    shards, photos = (1, 8) if options.quick else (4, 48)
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(options.shared)
        sizes = _write_shards(Path(folder), pictures, shards, photos)
        index = _index(Path(folder), shards, photos)
        config = TrainDataConfig(global_batch=32, lanes=4, held_out_share=0.0, shuffle_people=64)
        count = shards * photos * _PEOPLE
        loops: dict[str, Callable[[], object]] = {
            "webdataset, PIL (baseline)": lambda: _webdataset_loop(folder, config, pil=True),
            "webdataset, libjpeg-turbo": lambda: _webdataset_loop(folder, config, pil=False),
            "open_epoch, label join": lambda: _consume(open_epoch(config, index, 0)),
        }
        seconds = _best_cpu_seconds(loops)
        places = len(open_epoch(config, index, 0)) * config.global_batch  # the last batch is filled up
        made = {name: places if name.startswith("open_epoch") else count for name in loops}
        join = _cpu_seconds(lambda: _join(index))
        ours = seconds["open_epoch, label join"]
        _table(seconds, made)
        steps = _steps(Path(folder), config)
    say(f"join (label file, match by identity): {100 * join / ours:.1f} % of the loop; target <= 5 %")
    kind = "made-up" if options.shared is None else "real"
    say(
        f"{len(pictures)} {kind} photos as {shards * photos} JPEGs of {_WIDTH} x {_HEIGHT}, quality {_QUALITY}, "
        f"{sizes / 1000:.0f} kB each; {_PEOPLE} people, box sides {_SIDES[0]:.0f}-{_SIDES[1]:.0f} px."
    )
    say(
        "CPU time of one process and one thread, augmentation on. Target: >= 350 crops/s. Of a crop, in ms of CPU time:"
    )
    say(", ".join(f"{name} {1000 * value:.2f}" for name, value in steps.items()))


def _table(seconds: dict[str, float], made: dict[str, int]) -> None:
    baseline = next(iter(seconds))
    rate = {name: made[name] / s for name, s in seconds.items()}
    rows = [
        [name, str(made[name]), f"{1000 / rate[name]:.2f}", f"{rate[name]:.0f}", times(rate[name], rate[baseline])]
        for name in seconds
    ]
    table(["loop", "crops", "ms/crop", "crops/s per core", "against baseline"], rows)


def _best_cpu_seconds(loops: dict[str, Callable[[], object]], repeats: int = 3) -> dict[str, float]:
    """Shortest of `repeats` runs of each, taken in turn, so that a busy minute hits all of them."""
    best = dict.fromkeys(loops, float("inf"))
    for _ in range(repeats):
        for name, loop in loops.items():
            best[name] = min(best[name], _cpu_seconds(loop))
    return best


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _consume(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


def _webdataset_loop(folder: str, config: TrainDataConfig, *, pil: bool) -> None:
    """What a plain loader does: decode the whole photo, unpickle its people, cut each; no labels, no batches."""
    urls = sorted(map(str, Path(folder, _DATASET).glob("*.tar")))
    samples: Any = wds.WebDataset(urls, shardshuffle=False, empty_check=False)
    samples = samples.decode("rgb8") if pil else samples.decode(_decode_jpg)
    for sample in samples:
        picture = Picture(np.ascontiguousarray(sample["jpg"]), 1)
        for number, person in enumerate(sample["data.pyd"]):
            drawn = draw(config.augment, 0, 0, PersonId(_DATASET, "", sample["__key__"], number), 0)
            side = float(200 * person["scale"].max())
            cut_patch(picture, augmented_crop(drawn, person["keypoints_2d"], person["center"], side))


def _decode_jpg(key: str, data: bytes) -> Any:
    return simplejpeg.decode_jpeg(data) if key.endswith(".jpg") else None


def _join(index: LabelIndex) -> None:
    for number, shard in enumerate(index.shards):
        labels = ShardLabels(shard.label_file)
        for row in index.training.of_shard(number).tolist():
            id = PersonId(_DATASET, shard.source.shard, *labels.identity(row))
            found = labels.row_of(id)
            if found is not None:
                labels[found]


def _steps(folder: Path, config: TrainDataConfig) -> dict[str, float]:
    """CPU seconds a crop of each step, over the people of one shard."""
    (info, *_) = list_shards(str(folder / _DATASET / "*.tar"))
    photos = [item for item in read_shard(info, check_photos=False) if isinstance(item, Photo)]
    read, checked = (
        _cpu_seconds(lambda check=check: _consume(read_shard(info, check_photos=check))) for check in (False, True)
    )
    crops = [
        [augmented_crop(draw(config.augment, 0, 0, p.id, 0), p.keypoints_2d, p.center, p.side) for p in photo.people]
        for photo in photos
    ]
    pictures: list[Picture] = []

    def decode() -> None:
        for photo, own in zip(photos, crops, strict=True):
            factor = dct_factor(crop.crop_px_per_photo_px for crop in own)
            pictures.append(decode_photo(photo.jpeg, (photo.width, photo.height), factor))

    def cut() -> None:
        for picture, own in zip(pictures, crops, strict=True):
            for crop in own:
                cut_patch(picture, crop)

    count = sum(map(len, crops))
    figures = {
        "read": read,
        "decode": _cpu_seconds(decode),
        "cut": _cpu_seconds(cut),
        "spared trial decode of the reader": checked - read,
    }
    return {name: value / count for name, value in figures.items()}


def _write_shards(folder: Path, pictures: list[np.ndarray], shards: int, photos: int) -> float:
    """Shards of JPEGs, each from one of the pictures, mirrored or not; the mean size of a JPEG in bytes."""
    rng, sizes = np.random.default_rng(0), []
    for shard in range(shards):
        content = []
        for i in range(photos):
            picture = pictures[(shard * photos + i) % len(pictures)]
            flipped = picture[:, :: 1 if rng.random() < 0.5 else -1]
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(flipped), quality=_QUALITY, colorsubsampling="420")
            sizes.append(len(jpeg))
            content.append(
                RawSample(key=f"{_DATASET}/{i:04d}", jpeg=jpeg, people=[_person(rng) for _ in range(_PEOPLE)])
            )
        write_shard(str(folder / _DATASET / f"{shard:06d}.tar"), content)
    return float(np.mean(sizes))


def _person(rng: np.random.Generator) -> dict[str, Any]:
    side = rng.uniform(*_SIDES)
    center = rng.uniform((300, 300), (_WIDTH - 300, _HEIGHT - 300))
    points = np.concatenate([center + rng.normal(0, side / 5, (N_KEYPOINTS, 2)), np.ones((N_KEYPOINTS, 1))], 1)
    return person_record(keypoints_2d=points, center=center, scale=(side / 200, side / 200))


def _index(folder: Path, shards: int, photos: int) -> LabelIndex:
    files: dict[ShardId, str] = {}
    for shard in range(shards):
        name = f"{shard:06d}"
        ids = [PersonId(_DATASET, name, f"{_DATASET}/{i:04d}", p) for i in range(photos) for p in range(_PEOPLE)]
        path = folder / f"{name}.parquet"
        path.write_bytes(encode(_labels(ids).to_table(0)))
        files[ShardId(_DATASET, name)] = str(path)
    return index_labels(files, list_shards(str(folder / _DATASET / "*.tar")), 0.0)


def _labels(ids: list[PersonId]) -> LabelBatch:
    rng, count = np.random.default_rng(0), len(ids)
    return LabelBatch.of(
        ids,
        has_label=np.ones(count, bool),
        q=rng.normal(0, 0.2, (count, N_Q)),
        betas=rng.normal(0, 1, (count, N_BETAS)),
        cam_t=np.ones((count, 3)),
        q_std=rng.uniform(0, 0.5, (count, N_Q)),
        decision=np.full(count, Decision.CONVERTED, object),
        start_source=np.full(count, StartSource.SMPL, object),
        iterations=np.ones(count),
    )


def _pictures(shared: Path | None) -> list[np.ndarray]:
    """RGB pictures (854, 1280, 3): the real photos of `shared`, filled out to that size, else noise like theirs."""
    if shared is None or not (shared / _REAL_PHOTOS).is_dir():
        return [_noise(seed) for seed in range(4)]
    found: list[np.ndarray] = []
    for tar in sorted((shared / _REAL_PHOTOS).glob("*.tar")):
        with tarfile.open(tar) as members:
            for member in members:
                file = members.extractfile(member) if member.name.endswith(".jpg") else None
                if file is not None:
                    found.append(_filled(Image.open(io.BytesIO(file.read())).convert("RGB")))
    return found


def _filled(photo: Image.Image) -> np.ndarray:
    factor = max(_WIDTH / photo.width, _HEIGHT / photo.height)
    size = (round(photo.width * factor), round(photo.height * factor))
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC).crop((0, 0, _WIDTH, _HEIGHT)))


def _noise(seed: int) -> np.ndarray:
    """Noise whose amplitude falls with the frequency as that of photos does."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH)[None])
    frequency[0, 0] = np.inf
    layers = []
    for _ in range(4):
        spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**1.7
        layer = np.fft.irfft2(spectrum, s=(_HEIGHT, _WIDTH))
        layers.append(layer / layer.std())
    grey, *colors = layers
    picture = 128 + 40 * grey[..., None] + 15 * np.stack(colors, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)
