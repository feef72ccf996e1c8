"""From an image to alpha and foreground: the stages, which `remover.py` calls in order."""
