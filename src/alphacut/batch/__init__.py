"""Millions of pictures, on one machine or many, with nothing lost.

    sources    what SOURCE holds: a folder, pattern, list, archive or shards, anywhere
    job        which of it is still to be done, and doing it: local threads or Ray
    work       one process: a model loaded once, pictures read, cut out and written side by side
    on_ray     such processes as actors of Ray Data
    manifest   what became of each picture, in parts that are only ever added; and the lock
    store      DEST: files written whole or not at all

The truth is the manifest's parts. A picture is done when a part says so, and a part is written
after the pictures that it tells of; so whatever is killed, and whenever, costs work and no truth.
"""

from alphacut.errors import MissingExtra

try:
    import fsspec as fsspec
    import pyarrow as pyarrow
    import tenacity as tenacity
except ImportError as missing:
    raise MissingExtra(str(missing.name), "cluster") from missing
