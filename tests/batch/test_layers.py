"""The files of the room are one line down, too: each imports only those below it."""

from test_architecture import SOURCES, arrows

# from the roof to the ground
ORDER = ("run", "on_ray", "job", "work", "sources", "watch", "journal", "folder", "verdict",
         "manifest", "lock", "store", "inputs")  # fmt: skip


def test_files_import_only_those_below_them() -> None:
    files = {name: source for name, source in SOURCES.items() if name.startswith("batch.")}
    files.pop("batch.__init__")
    assert {name.removeprefix("batch.") for name in files} == set(ORDER)
    for name, targets in arrows(files).items():
        above = ORDER[: ORDER.index(name.removeprefix("batch."))]
        assert not targets & {f"batch.{file}" for file in above}, name
