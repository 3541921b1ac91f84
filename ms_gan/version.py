"""The version, alone in a file so that building a wheel does not import the package."""

__version__ = "0.2.0"
