"""Where result files lie below the output folder: KIND/DATASET/SHARD/KEY..., every part a safe name."""

from pipeline.export.file_names import safe_name
from schemas.person import PersonId


def photo_file(kind: str, id: PersonId, ending: str) -> str:
    """A file for everyone in a photo; `ending` begins with a dot."""
    return f"{_folder(kind, id)}/{safe_name(id.key)}{ending}"


def person_file(kind: str, id: PersonId, ending: str) -> str:
    """A file for one person in one photo."""
    return f"{_folder(kind, id)}/{safe_name(id.key)}.{id.person}{ending}"


def track_file(kind: str, id: PersonId, track_id: str, ending: str) -> str:
    """A file for one person through a video; `id`: of any frame."""
    return f"{_folder(kind, id)}/tracks/{safe_name(track_id)}{ending}"


def _folder(kind: str, id: PersonId) -> str:
    return "/".join([kind, *(safe_name(part) for part in (id.dataset, id.shard) if part)])
