"""What is made of a cut-out: canvas, background, shadow, composite, file."""
