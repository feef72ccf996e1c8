"""Training: pictures, losses and the loop that make weights (extra `train`)."""
