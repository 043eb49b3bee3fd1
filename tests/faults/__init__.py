"""A bench of small trainings, sick and healthy, on which the diagnoses are scored: ``python -m tests.faults.score``."""
