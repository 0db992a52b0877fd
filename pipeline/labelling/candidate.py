"""Labels that might replace the parents': found by fits, not yet judged."""

from typing import NamedTuple, Self

from jaxtyping import Int
from torch import Tensor

from pipeline.fit.skelify import SkelifyResult
from pipeline.labelling.batches import Strings
from pipeline.labelling.convert import as_numpy, stored


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
