"""The whole trip with a real kernel: crash, warm reset, retrieve, save, clear, crash again."""
