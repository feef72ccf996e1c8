"""Many images: those named on a command line, or millions, on one machine or many.

    run        run a job's plan, or a sample of it; the manifest is written as rows come in
    on_ray     run tasks in Ray Data actors instead of this process
    job        a job, and the plan of what is still to do
    work       one process: load the model once; read, cut out and write concurrently
    sources    list the images of a folder, pattern, list, archive or shards, local or remote
    watch      the images that appear in a folder, in this process, without end
    journal    what became of those
    folder     the images named on a command line, in this process
    verdict    what is found out about a cut-out, and whether it is good enough to be written
    manifest   one row per image, in Parquet parts that are only ever added
    lock       one run at a time in a destination
    store      DEST: files written whole or not at all, in a folder or a bucket
    inputs     which files count as images to cut out

Each file imports only those below it. `folder`, `watch` and `journal` need no extra; the rest
needs `cluster`.

The manifest's parts are the only record of a job. A part is written after the results it lists, so
killing a run at any moment loses work, never consistency.
"""

FOLDER = "_alphacut"  # among results: what alphacut notes about them
