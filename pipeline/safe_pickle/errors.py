"""Why a pickle was refused."""


class ForbiddenPickleError(ValueError):
    """The pickle asks for something that is not data; the message names the global or the trick."""


class MalformedPickleError(ValueError):
    """The bytes are not a complete, consistent pickle."""
