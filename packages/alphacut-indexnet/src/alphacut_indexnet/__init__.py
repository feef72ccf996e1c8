"""The weights of alphacut's model indexnet, for alphacut to find."""
