"""What ends the conversion of a motion."""


class MotionFileError(ValueError):
    """A file holds no motion that can be converted; the message names it, what was found, and what to do."""
