"""The Ray actor that converts motions: a file in, its SKEL files and a record out."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import torch

from pipeline.body import load_skel, load_smpl
from pipeline.export.coordinate_order import AngleOrder
from pipeline.motions.convert_motion import MotionConverter
from pipeline.motions.errors import MotionFileError
from pipeline.motions.motion_outputs import MotionFormat, UpAxis, content
from pipeline.motions.smpl_motion import MotionGender, SmplMotion, read_smpl_motion
from pipeline.runtime.config import ConfigError
from pipeline.storage.opening import storage_of_file
from pipeline.storage.storage import Storage

RECORDS: Final = "records"
_NEUTRAL: Final = "male"  # the SKEL body of a motion that says no gender, as HSMR's


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig:
    """How motions are converted. body: `open` or the folder of the official files. gender: `auto` takes the bodies that
    the file names, SKEL's male one for neutral. fps: frames a second that are kept, at most, 0 = all; file_fps: of
    files that name none. up: the axis of the source that points up, for .mot; angles: how .mot composes them.
    """

    body: str = "open"
    gender: str = "auto"
    fps: float = 0.0
    file_fps: float | None = None
    formats: tuple[MotionFormat, ...] = ("npz",)
    up: UpAxis = "z"
    angles: AngleOrder = "skel"

    def __post_init__(self) -> None:
        for name, known in (
            ("gender", ("auto", "male", "female")),
            ("up", ("y", "z")),
            ("angles", ("skel", "opensim")),
        ):
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"{name}={value!r}: one of {', '.join(known)} expected.")
        if not self.fps >= 0:
            raise ConfigError(f"fps={self.fps}: 0 (all frames) or frames a second expected.")

    @property
    def digest(self) -> str:
        """Of all that can change a converted motion."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionTask:
    """A motion file, and the name of what becomes of it below the output folder, without ending."""

    address: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionRecord:
    """What became of a file. rejected: why nothing did, else "". Of what: digests of the file and of the settings."""

    address: str
    name: str
    source: str
    settings: str
    rejected: str = ""
    frames: int = 0
    fps: float = 0.0
    gender: str = ""
    smpl_gender: str = ""
    pve_mean_mm: float = 0.0
    pve_max_mm: float = 0.0
    poor_frames: int = 0
    files: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Where the record lies below the output folder."""
        return f"{RECORDS}/{self.name}.json"


class MotionActor:
    """Keeps the bodies between files."""

    def __init__(self, config: ConvertConfig, output: Storage, poor_mm: float) -> None:
        torch.set_num_threads(1)  # actors fill the cores
        self._config, self._output, self._poor_mm = config, output, poor_mm
        self._converters: dict[tuple[str, MotionGender], MotionConverter] = {}

    def ready(self) -> None:
        """Returns once the actor is there."""

    def process(self, task: MotionTask) -> MotionRecord:
        """Convert a file, unless it was, with the same settings; the record is written last. Raises OSError where the
        file or the output folder cannot be reached, BodyFileError where a body is missing.
        """
        storage, name = storage_of_file(task.address)
        data = storage.read(name)
        digest = hashlib.sha256(data).hexdigest()
        known = read_record(self._output, task)
        if known is not None and (known.source, known.settings) == (digest, self._config.digest):
            return known
        record = MotionRecord(address=task.address, name=task.name, source=digest, settings=self._config.digest)
        try:
            motion = read_smpl_motion(io.BytesIO(data), task.address, fps=self._config.file_fps)
        except MotionFileError as error:
            return self._kept(replace(record, rejected=str(error)))
        return self._kept(self._converted(motion, task, record))

    def _converted(self, motion: SmplMotion, task: MotionTask, record: MotionRecord) -> MotionRecord:
        config = self._config
        if config.fps:
            motion = motion.every(max(1, round(motion.fps / config.fps)))
        converter = self._converter(motion.gender)
        found = converter.convert(motion)
        files = {form: f"{task.name}.{form}" for form in config.formats}
        for form, file in files.items():
            data = content(found, task.name, form, skel=converter.skel, up=config.up, angles=config.angles)
            self._output.write(file, data)
        return replace(
            record,
            frames=len(found.q),
            fps=found.fps,
            gender=found.gender,
            smpl_gender=found.smpl_gender,
            pve_mean_mm=float(found.pve_mean_mm.mean()),
            pve_max_mm=float(found.pve_max_mm.max()),
            poor_frames=int(np.sum(~(found.pve_max_mm <= self._poor_mm))),
            files=tuple(files.values()),
        )

    def _converter(self, gender: MotionGender | None) -> MotionConverter:
        smpl_gender: MotionGender = gender or "neutral"
        skel_gender = self._config.gender
        if skel_gender == "auto":
            skel_gender = _NEUTRAL if smpl_gender == "neutral" else smpl_gender
        key = (skel_gender, smpl_gender)
        if key not in self._converters:
            smpl = load_smpl(self._config.body, gender=smpl_gender)
            skel = load_skel(self._config.body, gender=skel_gender)
            self._converters[key] = MotionConverter(smpl, skel, gender=skel_gender, smpl_gender=smpl_gender)
        return self._converters[key]

    def _kept(self, record: MotionRecord) -> MotionRecord:
        self._output.write(record.file, json.dumps(asdict(record), indent=1).encode())
        return record


def read_record(output: Storage, task: MotionTask) -> MotionRecord | None:
    """What a conversion before this one says of the file, None where there was none, or it died while writing."""
    try:
        raw: Mapping[str, object] = json.loads(output.read(f"{RECORDS}/{task.name}.json"))
        return MotionRecord(**{**raw, "files": tuple(raw["files"])})  # pyrefly: ignore
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
