"""Judging facts, without torch."""
