"""The commands; the only room that prints. What needs torch is imported inside the command that needs it."""

from . import documents, examine, train
from .app import app, main

__all__ = ["app", "documents", "examine", "main", "train"]
