"""results.json: every figure with all that it depends on, and the published ones."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.evaluation.references import REFERENCES
from trainer.evaluation.summary import Result


def write_results(path: Path, results: Sequence[Result], origin: Mapping[str, str]) -> None:
    """All at once."""
    content = {
        **origin,
        "results": [_result(result) for result in results],
        "published": [
            {"method": reference.method, "dataset": dataset, "measure": measure, "value": value}
            for reference in REFERENCES
            for (dataset, measure), value in reference.figures.items()
        ],
    }
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _result(result: Result) -> dict[str, Any]:
    source = result.source
    return {
        "dataset": source.dataset,
        "label": source.label,
        "data": source.data,
        "images": str(source.images),
        "checkpoint": result.checkpoint,
        "checkpoint_sha256": result.digest,
        "network": result.network,
        "people": result.people,
        "rejected": result.rejected,
        "body": result.body,
        "regressor": result.regressor,
        "crop": source.protocol.crop_text,
        "measures": result.measures,
        "pck_per_keypoint": result.pck_per_keypoint,
        "violations_deg": result.violations,
        "violations_first_deg": result.violations_first,
    }
