"""Measuring, with torch; nothing here changes what it measures."""
