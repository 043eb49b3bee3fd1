"""Presenting facts as blocks of a page, without torch."""
