"""Scores of one head in accumulators of fixed size that merge: by task, and by what is counted."""
