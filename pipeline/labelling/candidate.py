"""Labels that might replace the parents': found by fits, not yet judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.body.skel import Skel
from pipeline.fit.skelify import SkelifyResult
from pipeline.labelling.acceptance import AcceptConfig, Measured, measure, passes_gates
from pipeline.labelling.batches import LabelBatch, Strings
from pipeline.labelling.convert import as_numpy, stored
from pipeline.labelling.label_spread import spread_factor
from schemas.person import PersonId


class Candidates(NamedTuple):
    """Of N people: what their fits found, and where each started (N,), a StartSource."""

    fit: SkelifyResult
    source: Strings

    def of(self, rows: Int[Tensor, "A"]) -> Self:
        """Those of some people."""
        return type(self)(SkelifyResult(*(value[rows] for value in self.fit)), self.source[as_numpy(rows)])

    def replaced(self, rows: Int[Tensor, "A"], by: Self) -> Self:
        """Those of the people `rows` replaced."""
        source = self.source.copy()
        source[as_numpy(rows)] = by.source
        pairs = zip(self.fit, by.fit, strict=True)
        return type(self)(SkelifyResult(*(old.index_copy(0, rows, new) for old, new in pairs)), source)

    def as_stored(self) -> Self:
        """As the table will hold them: what is measured is what is published."""
        return self._replace(fit=self.fit._replace(q=stored(self.fit.q), betas=stored(self.fit.betas)))

    def as_rows(
        self,
        ids: Sequence[PersonId],
        measured: Measured,
        anchor_q: Float[Tensor, "N 46"],
        anchor_betas: Float[Tensor, "N 10"],
    ) -> LabelBatch:
        """As rows of a table, with what they were held to; q_std as wide as it was measured to have to be."""
        return LabelBatch.of(
            ids,
            has_label=np.ones(len(ids), bool),
            q=as_numpy(self.fit.q),
            betas=as_numpy(self.fit.betas),
            cam_t=as_numpy(measured.cam_t),
            q_std=np.minimum(as_numpy(self.fit.q_std) * spread_factor(), np.pi),
            anchor_q=as_numpy(anchor_q),
            anchor_betas=as_numpy(anchor_betas),
            start_source=self.source,
            kp2d_error=as_numpy(measured.kp2d_error),
            limit_violation=as_numpy(measured.limit_violation),
            iterations=as_numpy(self.fit.iterations),
        )


@dataclass(frozen=True)
class Choice:
    """Between candidates of B people: of those that acceptance could take the more probable one, since one that fails
    a gate would be refused in its stead.

    parent, has_parent (B,): the labels that acceptance will compare with; keypoints and focal in crop units.
    """

    skel: Skel
    parent: Measured
    has_parent: Bool[Tensor, "B"]
    keypoints: Float[Tensor, "B 44 3"]
    focal: Float[Tensor, "B"]
    accept: AcceptConfig

    def better(self, rows: Int[Tensor, "A"], one: Candidates, other: Candidates) -> Candidates:
        """Of two candidates for each of the people `rows`, as they will be stored."""
        one, other = one.as_stored(), other.as_stored()
        cheaper = torch.nonzero(other.fit.cost < one.fit.cost).squeeze(1)
        likely, rest = one.replaced(cheaper, other.of(cheaper)), other.replaced(cheaper, one.of(cheaper))
        refused = torch.nonzero(~self._could_be_taken(rows, likely)).squeeze(1)
        taken = refused[self._could_be_taken(rows[refused], rest.of(refused))]
        return likely.replaced(taken, rest.of(taken))

    def _could_be_taken(self, rows: Int[Tensor, "A"], candidates: Candidates) -> Bool[Tensor, "A"]:
        keypoints = self.keypoints[rows]
        measured = measure(self.skel, candidates.fit.q, candidates.fit.betas, keypoints, self.focal[rows])
        finite = torch.isfinite(candidates.fit.cost)
        return finite & passes_gates(self.parent.of(rows), measured, self.has_parent[rows], keypoints, self.accept)
