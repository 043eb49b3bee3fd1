"""Why a part was not measured, where several steps say so."""

NO_DATA = "no data and no input size were given"
NOISE = "the inputs are noise made from an input size, so there is nothing to compare with"
