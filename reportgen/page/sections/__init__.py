"""One topic each: facts in, one section out, or None when there is nothing to show."""
