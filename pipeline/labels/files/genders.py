"""Whose body the labels of a generation belong to, also where they do not state it: before they did, it was one."""

import numpy as np
import pyarrow as pa
import yaml

from pipeline.labels.files.errors import OtherBodyError
from pipeline.labels.files.lineage import Lineage
from schemas.gender import DEFAULT_GENDER, GenderChoice, chosen_gender


def check_genders(lineage: Lineage, choice: GenderChoice) -> None:
    """Raises OtherBodyError where `body.gender` cannot give everyone the body that their label belongs to.

    With `auto` each row says whose it is; a generation from before rows did must be of the male body.
    """
    if lineage.genders and choice == "auto":
        return
    found = genders_known(lineage)
    other = sorted(found - {"auto", chosen_gender(choice, None)})
    if other:
        needed = "auto" if len(found) > 1 else other[0]
        raise OtherBodyError(
            f"The labels of round {lineage.round} belong to the {' and the '.join(sorted(found))} SKEL body, and "
            f"body.gender={choice} gives their people another one, by which the same betas are another shape. Labels "
            f"are not moved between bodies: set body.gender={needed}, or start from round 0 in another storage.root."
        )


def with_stated_genders(table: pa.Table, choice: GenderChoice) -> pa.Table:
    """A label table, with the gender of labels that do not state it: one that `check_genders` has passed."""
    silent = table["gender"].is_null().to_numpy() & table["has_label"].to_numpy()
    if not silent.any():
        return table
    values = np.where(silent, chosen_gender(choice, None), np.array(table["gender"].to_pylist(), object))
    index = table.schema.get_field_index("gender")
    return table.set_column(index, table.schema.field(index), pa.array(values.tolist(), pa.string()))


def genders_known(lineage: Lineage) -> set[str]:
    """Whose bodies the labels belong to; `auto` where a generation without a label does not say."""
    return set(lineage.genders) or {_configured(lineage)}


def _configured(lineage: Lineage) -> str:
    """`body.gender` of a generation; the male body where its configuration does not say."""
    config = yaml.safe_load(lineage.config)
    body = config.get("body") if isinstance(config, dict) else None
    return str(body.get("gender", DEFAULT_GENDER)) if isinstance(body, dict) else DEFAULT_GENDER
