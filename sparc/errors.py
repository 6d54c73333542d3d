"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake of the user or of the surroundings, told in one line.

    The message says what is wrong, where, and what to do. The application prints it without a
    traceback.
    """
