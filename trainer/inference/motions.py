"""OpenSim motions of predicted people: one file per track, one row each for people who belong to none."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64, Int64

from pipeline.body import Skel
from pipeline.export.coordinate_order import AngleOrder, opensim_angles
from pipeline.export.motion_file import Motion, motion_file
from pipeline.export.upright_axes import pose_on_ground, to_ground
from pipeline.fit.solver.orientation import PelvisOrientation
from pipeline.labelling.rows_by_gender import by_gender
from pipeline.labels import Storage
from schemas.gender import Gender
from schemas.input_shard import ShardId
from schemas.person import PersonId, Rejection, RejectionReason
from trainer.inference.placed_bodies import PlacedBodies
from trainer.inference.predicted_people import PredictedPeople
from trainer.inference.result_files import person_file, track_file


@dataclass(frozen=True, slots=True)
class _Frame:
    """One person in one photo: q (46,) rad and pelvis (3,) m in ground axes."""

    id: PersonId
    q: np.ndarray
    pelvis: np.ndarray


@dataclass(slots=True, kw_only=True)
class MotionsWriter:
    """Writes below mot/. Holds the tracks of the shard that is being read, which `finish` or the next shard ends.

    skels: by the gender of people. fps: frames a second of tracks that name no rate. order: how the angles of a joint
    are composed, see `pipeline.export.coordinate_order`.
    """

    storage: Storage
    skels: Mapping[Gender, Skel]
    order: AngleOrder
    fps: float
    rejections: list[Rejection] = field(default_factory=list)
    files: int = 0
    _tracks: dict[tuple[str, float], dict[int, list[_Frame]]] = field(default_factory=dict)
    _shard: ShardId | None = None

    def write(self, batch: PredictedPeople, placed: PlacedBodies) -> None:
        """Add the people of a batch, in the order of the shards."""
        for person, frame in zip(batch.people, self._frames(batch, placed), strict=True):
            if person.id.shard_id != self._shard:
                self.finish()
                self._shard = person.id.shard_id
            if person.track is None:
                name = f"{person.id.key} person {person.id.person}"
                self._save(person_file("mot", frame.id, ".mot"), name, np.zeros(1), [frame])
            else:
                track_id, number = person.track
                track = (track_id, person.fps or self.fps)
                self._tracks.setdefault(track, {}).setdefault(number, []).append(frame)

    def finish(self) -> None:
        """Write the tracks that were gathered. A frame that several people claim is in none: nobody can tell whose."""
        rates = Counter(track_id for track_id, _ in self._tracks)
        for (track_id, fps), claims in self._tracks.items():
            alone = {number: frames[0] for number, frames in sorted(claims.items()) if len(frames) == 1}
            self.rejections += [
                _claimed(frame.id, track_id, number, len(frames))
                for number, frames in claims.items()
                if len(frames) > 1
                for frame in frames
            ]
            if alone:
                name = track_id if rates[track_id] == 1 else f"{track_id} {fps:g} fps"
                path = track_file("mot", next(iter(alone.values())).id, name, ".mot")
                self._save(path, name, (np.array(list(alone)) - min(alone)) / fps, list(alone.values()))
        self._tracks = {}

    def _frames(self, batch: PredictedPeople, placed: PlacedBodies) -> Iterator[_Frame]:
        def on_ground(gender: Gender, rows: Int64[np.ndarray, "M"]) -> Float64[np.ndarray, "M 46"]:
            skel = self.skels[gender]
            orientation = PelvisOrientation(skel.rig)
            turn, q = (torch.as_tensor(x[rows]).to(skel.device, skel.dtype) for x in (placed.turn, batch.q))
            q = pose_on_ground(torch.cat([orientation.to_q(turn @ orientation.matrix(q)), q[:, 3:]], 1), orientation)
            return (opensim_angles(q) if self.order == "opensim" else q).double().cpu().numpy()

        q = by_gender(batch.genders, on_ground)
        pelvis = to_ground(placed.photo_cam_t + placed.pelvis)
        return (_Frame(*row) for row in zip((person.id for person in batch.people), q, pelvis, strict=True))

    def _save(self, path: str, name: str, times: np.ndarray, frames: list[_Frame]) -> None:
        q, pelvis = np.stack([frame.q for frame in frames]), np.stack([frame.pelvis for frame in frames])
        self.storage.write(path, motion_file(Motion(name=name, times=times, q=q, pelvis=pelvis)))
        self.files += 1


def _claimed(id: PersonId, track_id: str, number: int, claims: int) -> Rejection:
    return Rejection(
        dataset=id.dataset,
        shard=id.shard,
        key=id.key,
        person=id.person,
        reason=RejectionReason.DUPLICATE_FRAME,
        detail=f"{claims} people claim frame {number} of track {track_id!r}: it is left out of the motion",
    )
