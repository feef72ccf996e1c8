"""Training: pictures, losses and the loop that make weights (extra `train`)."""

from alphacut.errors import MissingExtra

try:
    import safetensors as safetensors
    import torch as torch
except ImportError as missing:
    raise MissingExtra(str(missing.name), "train") from missing
