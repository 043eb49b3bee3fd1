"""Callbacks for other people's trainers. Each module needs its own extra, and says so in one line without it."""
