"""The run: training loops and what they log."""
