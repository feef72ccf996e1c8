"""From a picture to alpha and foreground: the stages, in the order of `remover.py`."""
