"""Which of SKEL's two bodies a person is given: male or female, each with a template and a shape space of its own."""

from typing import Final, Literal

Gender = Literal["male", "female"]
GenderChoice = Literal["male", "female", "auto"]
"""As `body.gender` says it: one body for everyone, or for each person the one that the data say."""

GENDERS: Final[tuple[Gender, ...]] = ("male", "female")
DEFAULT_GENDER: Final[Gender] = "male"
"""Of people of whom nothing is known, as HSMR gives everyone."""

_WORDS: Final[dict[str, Gender | None]] = {
    "male": "male",
    "m": "male",
    "female": "female",
    "f": "female",
    "neutral": None,
    "": None,
}


def genders_of(choice: GenderChoice) -> tuple[Gender, ...]:
    """Whose bodies a choice may ask for."""
    return GENDERS if choice == "auto" else (choice,)


def chosen_gender(choice: GenderChoice, known: Gender | None) -> Gender:
    """Of a person's body; known: what the data say of the person, if anything."""
    return (known or DEFAULT_GENDER) if choice == "auto" else choice


def gender_of_word(word: str) -> Gender | None:
    """What a word of a data set says, None for neutral and nothing. Raises ValueError for any other word."""
    key = word.strip().lower()
    if key not in _WORDS:
        raise ValueError(f"{word[:40]!r} is no gender: male, female, m, f or neutral expected")
    return _WORDS[key]
