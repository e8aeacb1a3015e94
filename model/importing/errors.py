"""Why a file of weights was not taken."""


class ImportRefusedError(ValueError):
    """The file cannot be used; the sentence says what is wrong with it and what to do."""
