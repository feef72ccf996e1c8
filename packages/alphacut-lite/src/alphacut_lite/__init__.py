"""The weights of alphacut's model alphacut-lite, for alphacut to find."""
