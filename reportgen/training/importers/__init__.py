"""Histories that other tools wrote: a reader for each kind of file, and what they share. Without torch."""
