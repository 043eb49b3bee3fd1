"""What a report says, as plain data. Nothing here imports torch."""
