"""What a plan leaves to do, and what results are called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphacut import Options
from alphacut.batch import FOLDER
from alphacut.batch.job import Job, output_name, plan
from alphacut.errors import UnknownName
from clusters import check, make_pictures, results, run_job

pytestmark = [pytest.mark.usefixtures("tiny"),
              pytest.mark.filterwarnings("ignore::alphacut.errors.AlphacutWarning")]  # fmt: skip


def test_names_of_results() -> None:
    assert output_name("a/b.jpg", ".png") == "a/b.jpg.png"
    assert output_name("Müller/ä b.jpg", ".webp") == "Müller/ä b.jpg.webp"
    assert output_name("../../etc/passwd", ".png") == ".%2E/.%2E/etc/passwd.png"
    assert output_name("/root", ".png") == "%/root.png"
    assert output_name("a//b", ".png") == "a/%/b.png"
    assert output_name("c:\\x?.jpg", ".png") == "c%3A%5Cx%3F.jpg.png"
    assert output_name("_alphacut/x", ".png") == "%5Falphacut/x.png"
    assert len(output_name("x" * 5000, ".png")) < 255


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=20))
def test_no_two_ids_share_a_result(ids: list[str]) -> None:
    names = {output_name(id, ".png") for id in ids}
    assert len(names) == len(ids)
    for name in names:
        parts = name.split("/")
        assert not {"", ".", "..", FOLDER} & set(parts)
        assert all(len(part.encode()) < 256 for part in parts)


def test_a_second_run_does_only_what_is_left(few: Path, tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    make_pictures(source, 20)
    first = run_job(source, dest)
    (source / "0/00000.jpg").write_bytes((source / "1/00001.png").read_bytes())  # changed
    (dest / "1/00001.png.png").unlink()  # lost
    (dest / "2/00002.webp.png").write_bytes(b"half")
    job = Job(source=str(source), dest=str(dest), options=Options(model="tiny"))
    todo = plan(job)
    assert {task.id for task in todo.tasks()} == {"0/00000.jpg", "1/00001.png", "2/00002.webp"}
    assert (todo.skipped, todo.given_up) == (16, 1)  # a broken picture stays broken
    again = run_job(source, dest, retry_failed=True)
    check(source, dest)
    changed = {id for id in first if first[id]["run"] != again[id]["run"]}
    assert len(changed) == 4
    assert again["0/00010.png", 1]["attempts"] == 2
    # other options are another job: all is done again, in the same place
    todo = plan(Job(source=str(source), dest=str(dest), options=Options(result="mask")))
    assert (todo.pending, todo.skipped) == (20, 0)


def test_an_id_given_twice(few: Path, tmp_path: Path) -> None:
    lines = ["id,address", f"a,{few}/0/00000.jpg", f"a,{few}/1/00001.png", f"b,{few}/1/00001.png",
             f"a,{few}/0/00000.jpg", f"a,{few}/2/00002.webp"]  # fmt: skip
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for _ in range(2):
        rows = run_job(tmp_path / "list.csv", tmp_path / "out")
        assert {id: row["status"] for id, row in rows.items()} == {
            ("a", 1): "done", ("a", 2): "failed", ("a", 3): "failed", ("b", 1): "done",
        }  # fmt: skip
        assert rows["a", 2]["error"] == "an earlier input is also called a"
        assert rows["a", 1]["input"].endswith("0/00000.jpg")
        assert set(results(tmp_path / "out")) == {"a.png", "b.png"}


def test_trimaps_and_the_matting_network_decide_what_is_done(few: Path, tmp_path: Path) -> None:
    def keys(**options: str) -> set[bytes]:
        job = Job(source=str(few), dest=str(tmp_path / "out"), options=Options(**options))
        return {task.key for task in plan(job).tasks()}

    (tmp_path / "trimaps").mkdir()
    trimap = tmp_path / "trimaps" / "00000.png"
    trimap.write_bytes(b"one")
    before = keys(trimap=str(trimap.parent))
    assert before == keys(trimap=str(trimap.parent))
    trimap.write_bytes(b"another")
    assert not before & keys(trimap=str(trimap.parent))
    assert not keys(matting="indexnet") & keys(matting="indexnet-adobe")
    with pytest.raises(UnknownName, match="unknown matting 'nobody'"):
        keys(matting="nobody")
