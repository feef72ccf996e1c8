"""Many pictures: those of a command line, or millions, on one machine or many, with nothing lost.

    folder     the pictures that a command names, done one after another on this machine

    sources    what SOURCE holds: a folder, pattern, list, archive or shards, anywhere
    job        which of it is still to be done, and doing it: local threads or Ray
    work       one process: a model loaded once, pictures read, cut out and written side by side
    on_ray     such processes as actors of Ray Data
    manifest   what became of each picture, in parts that are only ever added; and the lock
    store      DEST: files written whole or not at all

Of a job, the truth is the manifest's parts. A picture is done when a part says so, and a part is
written after the pictures that it tells of; so whatever is killed, and whenever, costs work and no
truth.
"""
