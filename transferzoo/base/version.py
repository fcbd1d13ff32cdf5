"""The version, in this one place: pyproject.toml and `transferzoo.__version__` read it here."""

__version__ = "0.2.0"
