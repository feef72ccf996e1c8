"""How good and how fast: figures, and the INT8 form that they judge."""
