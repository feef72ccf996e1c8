"""The networks: their architectures, their entries in the catalogue, and their weights."""
