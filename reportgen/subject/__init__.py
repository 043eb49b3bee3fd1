"""Getting hold of a model, its weights and its data."""
