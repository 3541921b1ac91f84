"""What the command line prints as one line instead of a traceback."""


class UserError(Exception):
    """Something that the user can mend: `where: what is wrong; what was expected; what to do`."""
