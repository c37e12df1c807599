"""One module per way of finding a frame's caller; each has `step(context, frame)`."""
