"""Fields of an evaluation file, each checked for type and shape before it is used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.npz_file import npz_arrays
from schemas.gender import Gender, gender_of_word
from trainer.evaluation.evaluation_set import EvaluationFileError

Shape = tuple[int, ...]


class FileFields:
    """The arrays of one npz by name. `count`: how many people there are, by the field that tells it."""

    def __init__(self, path: str, names: Iterable[str], counted: str) -> None:
        """counted: the field whose length is the number of people. Raises EvaluationFileError."""
        if not Path(path).is_file():
            raise EvaluationFileError(f"there is no file {path}, given as --data.")
        try:
            self.arrays: Mapping[str, np.ndarray] = npz_arrays(path, names, objects=True)
        except LabelStoreError as error:
            raise EvaluationFileError(str(error)) from error
        self.path = path
        first = self.needed(counted)
        if first.ndim == 0:
            raise self.wrong(counted, "(N, ...)", first)
        self.count = len(first)
        if not self.count:
            raise EvaluationFileError(f"{path}: {counted} is empty: nobody to evaluate.")

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def needed(self, name: str) -> Shaped[np.ndarray, "..."]:
        """The array as it is. Raises EvaluationFileError where the file has none of this name."""
        if name not in self.arrays:
            raise EvaluationFileError(f"{self.path} has no field {name!r}, only {', '.join(sorted(self.arrays))}.")
        return self.arrays[name]

    def texts(self, name: str) -> list[str]:
        """One text per person, stored as str or bytes."""
        array = self.needed(name)
        if array.shape != (self.count,):
            raise self.wrong(name, "(N,)", array)
        values = array.tolist()
        if not all(isinstance(value, str | bytes) for value in values):
            raise EvaluationFileError(f"{self.path}: {name} is {array.dtype} of shape {array.shape}, text expected.")
        whole = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]
        # numpy hands on halves of surrogate pairs, and code points that there are not.
        return [value.encode(errors="replace").decode(errors="replace") for value in whole]

    def genders(self, *names: str) -> list[Gender | None]:
        """Each person's by the first of these fields that the file has, None where it says nothing or is not there."""
        name = next((name for name in names if name in self), None)
        if name is None:
            return [None] * self.count
        words = self.texts(name)
        try:
            return [gender_of_word(word) for word in words]
        except ValueError as error:
            raise EvaluationFileError(f"{self.path}: {name}: {error}. body.gender=male does not read it.") from error

    def numbers(self, name: str, *shapes: Shape) -> Float64[np.ndarray, "..."]:
        """float64, (N, *shape) for one of these shapes; zeros of the first where the file has none."""
        if name not in self.arrays:
            return np.zeros((self.count, *shapes[0]))
        return self.checked(name, self.arrays[name], *shapes)

    def checked(self, name: str, value: Any, *shapes: Shape) -> Float64[np.ndarray, "..."]:
        """The same for a value that lies elsewhere in the file."""
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            found = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise EvaluationFileError(f"{self.path}: {name} is {found}, numbers expected.")
        if value.shape not in [(self.count, *shape) for shape in shapes]:
            expected = " or ".join(str(("N", *shape)).replace("'", "") for shape in shapes)
            raise self.wrong(name, expected, value)
        return value.astype(np.float64)

    def wrong(self, name: str, expected: str, found: Shaped[np.ndarray, "..."]) -> EvaluationFileError:
        """Of the wrong shape."""
        people = f", N = {self.count} people" if hasattr(self, "count") else ""
        return EvaluationFileError(f"{self.path}: {name} has shape {found.shape}, expected {expected}{people}.")
