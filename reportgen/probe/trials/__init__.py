"""Cheap experiments on a copy of the model, which settle what statistics cannot."""
