"""Writing a page in a format: bytes out, nothing measured, nothing judged, no torch."""
