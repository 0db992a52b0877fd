"""Fields of an npz of somebody else's, one row a person, each checked for type and shape before it is used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Shaped

from pipeline.labels.exchange.npz_file import npz_arrays
from pipeline.labels.files.errors import LabelStoreError
from schemas.gender import Gender, gender_of_word

Shape = tuple[int, ...]


class FileFields:
    """The arrays of one npz by name. `count`: how many people there are, by the field that tells it."""

    error: ClassVar[type[Exception]] = LabelStoreError
    """What is raised for a file that cannot be used."""

    def __init__(self, path: str, names: Iterable[str], counted: str) -> None:
        """counted: the field whose length is the number of people. Raises `error`."""
        if not Path(path).is_file():
            raise self.error(f"there is no file {path}.")
        try:
            self.arrays: Mapping[str, np.ndarray] = npz_arrays(path, names, objects=True)
        except LabelStoreError as error:
            raise self.error(str(error)) from error
        self.path = path
        first = self.needed(counted)
        if first.ndim == 0:
            raise self.wrong(counted, "(N, ...)", first)
        self.count = len(first)
        if not self.count:
            raise self.error(f"{path}: {counted} is empty: there is nobody in it.")

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def needed(self, name: str) -> Shaped[np.ndarray, "..."]:
        """The array as it is. Raises `error` where the file has none of this name."""
        if name not in self.arrays:
            raise self.error(f"{self.path} has no field {name!r}, only {', '.join(sorted(self.arrays))}.")
        return self.arrays[name]

    def first_of(self, *names: str) -> str:
        """The first of these names that the file has. Raises `error` where it has none."""
        found = next((name for name in names if name in self.arrays), None)
        if found is None:
            wanted = " nor ".join(map(repr, names))
            raise self.error(f"{self.path} has neither {wanted}, only {', '.join(sorted(self.arrays))}.")
        return found

    def texts(self, name: str) -> list[str]:
        """One text per person, stored as str or bytes."""
        array = self.needed(name)
        if array.shape != (self.count,):
            raise self.wrong(name, "(N,)", array)
        values = array.tolist()
        if not all(isinstance(value, str | bytes) for value in values):
            raise self.error(f"{self.path}: {name} is {array.dtype} of shape {array.shape}, text expected.")
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
            raise self.error(f"{self.path}: {name}: {error}. body.gender=male does not read it.") from error

    def numbers(self, name: str, *shapes: Shape) -> Float64[np.ndarray, "..."]:
        """float64, (N, *shape) for one of these shapes; zeros of the first where the file has none."""
        if name not in self.arrays:
            return np.zeros((self.count, *shapes[0]))
        return self.checked(name, self.arrays[name], *shapes)

    def needed_numbers(self, name: str, *shapes: Shape) -> Float64[np.ndarray, "..."]:
        """The same, of a field that the file must have."""
        return self.checked(name, self.needed(name), *shapes)

    def checked(self, name: str, value: Any, *shapes: Shape) -> Float64[np.ndarray, "..."]:
        """The same for a value that lies elsewhere in the file."""
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            found = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise self.error(f"{self.path}: {name} is {found}, numbers expected.")
        if value.shape not in [(self.count, *shape) for shape in shapes]:
            expected = " or ".join(str(("N", *shape)).replace("'", "") for shape in shapes)
            raise self.wrong(name, expected, value)
        return value.astype(np.float64)

    def wrong(self, name: str, expected: str, found: Shaped[np.ndarray, "..."]) -> Exception:
        """Of the wrong shape."""
        people = f", N = {self.count} people" if hasattr(self, "count") else ""
        return self.error(f"{self.path}: {name} has shape {found.shape}, expected {expected}{people}.")
