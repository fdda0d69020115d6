"""The command line; the only room that prints."""

from facemae.cli.app import main

__all__ = ["main"]
