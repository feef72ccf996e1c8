"""What the page does when its widgets are used."""

import contextlib
import io
import math
import queue
import secrets
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from alphacut import values
from alphacut.demo import text
from alphacut.demo.engine import EncodedResult, Engine, LocalEngine
from alphacut.demo.gradio_import import gr
from alphacut.demo.layout import EXAMPLES, FILM_S, FORMATS, HERE, TITLE, Layout
from alphacut.demo.uploads import Uploads, file_name
from alphacut.errors import AlphacutError, ImageError, OptionError
from alphacut.options import FileFormat, Options
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline.strokes import read_strokes
from alphacut.video.read import open_film
from alphacut.video.remove import is_opaque

PREVIEW_MP = 2.1  # what is shown; downloads have the picture's own size
_VIEWS: dict[str, dict[str, Any]] = {
    "checkerboard": {"background": "checkerboard"},
    "mask": {"result": "mask"},
    "trimap": {"result": "trimap", "save_trimap": True},
}
_LOOK: dict[str, Any] = {"view": "result", "painting": False, "picking": False, "strokes": [],
                         "picks": [], "version": 0}  # fmt: skip
_QUEUE: dict[str, Any] = {
    "concurrency_id": "pictures",
    "preprocess": False,
    "api_visibility": "private",
}


class Session:
    """A visitor's state. Several of their requests may be worked on at once.

    Attributes:
        photo: The picture, None before there is one.
        look: How the viewer last asked to show it.
        turn: How many results were begun: an earlier one is not shown over a later one.
        many: The many pictures that were given last.
    """

    def __init__(self) -> None:
        self.photo: dict[str, Any] | None = None
        self.look = _LOOK
        self.turn = 0
        self.many: Sequence[Mapping[str, Any]] = ()


class Page:
    """One page for all visitors.

    Args:
        engine: Cuts the pictures out.
        options: What the page starts with; `max_megapixels` is its limit.
        uploads: Where files are.
    """

    def __init__(self, engine: Engine, options: Options, uploads: Uploads) -> None:
        self.engine, self.options, self.uploads = engine, options, uploads
        with gr.Blocks(title=TITLE, analytics_enabled=False) as self.blocks:
            layout = Layout(engine, options, uploads, Session())
            self.form = layout.form
            self._connect_one(layout)
            self._connect_many(layout)
            uploaders = [layout.many["upload"], layout.form["picture"]]
            if layout.film:
                self._connect_film(layout)
                uploaders.append(layout.film["upload"])
            for upload in uploaders:
                upload.change(self._claim, upload, queue=False, preprocess=False,
                              api_visibility="private")  # fmt: skip
            self.blocks.unload(self._leave)
        self.blocks.queue(default_concurrency_limit=engine.threads, max_size=64)

    def _connect_one(self, layout: Layout) -> None:
        """Say what happens in the tab for one picture."""
        one, session, form = layout.one, layout.session, list(layout.form.values())
        begun = [one["start"], one["result"], layout.settings, one["problem"], one["viewer"],
                 one["status"], one["upload"], one["cancel"]]  # fmt: skip
        for start in (one["upload"].input, one["examples"].choose):
            start(lambda: gr.update(visible=True), None, one["cancel"], queue=False,
                  show_progress="hidden", api_visibility="private")  # fmt: skip
        taking = one["upload"].input(
            self._take, [session, one["upload"], *form], begun,
            show_progress_on=[one["upload"]], **_QUEUE,
        )  # fmt: skip
        choosing = one["examples"].choose(
            self._take_example, [session, *form], begun, show_progress_on=[one["upload"]], **_QUEUE
        )
        shown = [one["problem"], one["viewer"], one["status"]]
        one["viewer"].look(
            self._look, [session, *form], shown,
            show_progress="minimal", show_progress_on=[one["viewer"]],
            trigger_mode="multiple", **_QUEUE,
        )  # fmt: skip
        gr.on(
            [event for widget in form for event in _events(widget)],
            self._change, [session, *form], shown,
            show_progress="minimal", show_progress_on=[one["viewer"]],
            trigger_mode="always_last", **_QUEUE,
        )  # fmt: skip
        cleared = [one["upload"], one["start"], one["result"], layout.settings, one["problem"],
                   one["cancel"]]  # fmt: skip
        for button, stopped in ((one["again"], None), (one["cancel"], [taking, choosing])):
            button.click(self._clear, session, cleared, queue=False, cancels=stopped,
                         api_visibility="private")  # fmt: skip
        layout.many["done"].choose(
            self._open, [session, *form], [*begun, layout.tabs],
            show_progress_on=[layout.many["done"]], **_QUEUE,
        )  # fmt: skip
        one["download"].click(
            self._download, [session, one["format"], *form],
            [one["saver"], one["problem"], one["status"]],
            show_progress_on=[one["download"]], **_QUEUE,
        )  # fmt: skip
        one["separate"].click(
            self._separate, [session, *form], [one["subjects"], one["problem"]],
            show_progress_on=[one["separate"]], **_QUEUE,
        )  # fmt: skip
        stale: dict[str, Any] = {  # those of another picture, or of other settings
            "fn": lambda: "", "inputs": None, "outputs": one["subjects"], "queue": False,
            "show_progress": "hidden", "api_visibility": "private",
        }  # fmt: skip
        gr.on([event for widget in form for event in _events(widget)], **stale)
        for event in (one["viewer"].look, one["again"].click, layout.many["done"].choose):
            event(**stale)
        # one listener for all tabs: the answers of several could overtake each other
        layout.tabs.select(self._choose_tab, session, layout.settings, queue=False,
                           trigger_mode="always_last", api_visibility="private")  # fmt: skip

    def _connect_many(self, layout: Layout) -> None:
        """Say what happens in the tab for many pictures."""
        many = layout.many
        many["go"].click(
            self._cut_many,
            [layout.session, many["upload"], many["format"], *layout.form.values()],
            [many["done"], many["go"], many["cancel"]], show_progress_on=[many["go"]],
            show_progress="minimal", **{**_QUEUE, "concurrency_id": "many"},
        )  # fmt: skip
        many["cancel"].click(self._cancel, queue=False, api_visibility="private")

    def _connect_film(self, layout: Layout) -> None:
        """Say what happens in the tab for a film."""
        film = layout.film
        film["go"].click(
            self._cut_film, [film["upload"], *layout.form.values()],
            [film["done"], film["go"], film["cancel"]], show_progress_on=[film["go"]],
            show_progress="minimal", **{**_QUEUE, "concurrency_id": "film", "concurrency_limit": 1},
        )  # fmt: skip
        film["cancel"].click(self._cancel, queue=False, api_visibility="private")

    def _choose_tab(self, event: gr.SelectData, session: Session) -> dict[str, Any]:
        """Show the settings; for one picture, once there is one."""
        visible: dict[str, Any] = gr.update(visible=event.index > 0 or session.photo is not None)
        return visible

    # --- one picture ------------------------------------------------------------------------------

    def _take(
        self, request: gr.Request, session: Session, upload: Mapping[str, Any] | None, *form: Any
    ) -> list[Any]:
        """Start with a picture that was uploaded."""
        if not upload:
            return [*[gr.skip()] * 7, gr.update(visible=False)]
        return self._begin(request, session, upload, form)

    def _take_example(
        self, event: gr.EventData, request: gr.Request, session: Session, *form: Any
    ) -> list[Any]:
        """Start with an example."""
        name = event.name if event.name in EXAMPLES else next(iter(EXAMPLES))
        path = self.uploads.new_folder(_visitor(request)) / name
        path.write_bytes((HERE / "examples" / name).read_bytes())
        return self._begin(request, session, {"path": str(path), "orig_name": name}, form)

    def _begin(
        self, request: gr.Request, session: Session, upload: Mapping[str, Any], form: Any
    ) -> list[Any]:
        """Show a picture's first result, or why there is none."""
        name = file_name(upload)
        session.photo = photo = {"path": upload.get("path"), "name": name, "before": None,
                                 "parts": (None, ""), "id": secrets.token_hex(8)}  # fmt: skip
        session.look = _LOOK
        begun = True
        try:
            shown = [*self._render(request, session, photo, form), gr.skip()]
        except AlphacutError as error:
            begun, shown = False, [self._problem(error, name), None, "", None]
        if session.photo is not photo:  # another one was chosen meanwhile, or it was cancelled
            return [gr.skip()] * 8
        if not begun:
            session.photo = None
        shown.append(gr.update(visible=False))
        return [gr.update(visible=not begun), *[gr.update(visible=begun)] * 2, *shown]

    def _open(
        self, event: gr.EventData, request: gr.Request, session: Session, *form: Any
    ) -> list[Any]:
        """Start with one of many pictures."""
        index = event.index
        if not isinstance(index, int) or not 0 <= index < len(session.many):
            return [gr.skip()] * 9
        begun = self._begin(request, session, session.many[index], form)
        return [*begun, gr.update(selected="one")]

    def _clear(self, session: Session) -> list[Any]:
        """Make room for a new picture."""
        session.photo = None
        hidden = gr.update(visible=False)
        return [None, gr.update(visible=True), hidden, hidden, "", hidden]

    def _look(
        self, event: gr.EventData, request: gr.Request, session: Session, *form: Any
    ) -> list[Any]:
        """Show the picture as the viewer asks: in another view, or with what was painted."""
        look = {name: getattr(event, name) for name in _LOOK}
        if session.photo is None or event.photo != session.photo["id"]:
            return [gr.skip()] * 3
        if look["version"] <= session.look["version"]:  # a later one has overtaken it
            return [gr.skip()] * 3
        session.look = look
        return self._change(request, session, *form)

    def _change(self, request: gr.Request, session: Session, *form: Any) -> list[Any]:
        """Show the picture with other settings."""
        if (photo := session.photo) is None:
            return [gr.skip()] * 3
        try:
            shown = self._render(request, session, photo, form)
        except AlphacutError as error:
            shown = [self._problem(error, photo["name"]), gr.skip(), gr.skip()]
        return shown if session.photo is photo else [gr.skip()] * 3

    def _render(
        self, request: gr.Request, session: Session, photo: dict[str, Any], form: Any
    ) -> list[Any]:
        """Cut the picture out at the size at which it is shown.

        Returns:
            A warning, if there is one, and the values of viewer and status.
        """
        visitor, look = _visitor(request), session.look
        session.turn = turn = session.turn + 1
        image = self.uploads.find(visitor, photo).read_bytes()
        strokes = read_strokes(look["strokes"])
        options = self._options(visitor, form, look, plain=look["painting"] or look["picking"])
        canvas = values.parse_canvas(options.size) if options.size else None
        options = options.replace(output_megapixels=PREVIEW_MP, format="png")
        if canvas and canvas.size and (share := math.prod(canvas.size) / (PREVIEW_MP * 1e6)) > 1:
            height, width = (max(1, round(side / math.sqrt(share))) for side in canvas.size)
            options = options.replace(size=f"{width}x{height}")
        placed = options.crop or canvas is not None or options.preset != "none"
        view = "result" if look["painting"] or look["picking"] else look["view"]
        start = time.perf_counter()
        result = self.engine(image, options.replace(**_VIEWS.get(view, {})), strokes)
        seconds = time.perf_counter() - start
        before = None if placed else photo["before"]
        if before is None:
            # The foreground before its colours are cleaned is the photo, framed like the result
            same = options.replace(
                result="foreground", decontaminate=False, format="jpg",
                matting=options.matting if placed else "none",
            )  # fmt: skip
            data = self.engine(image, same, strokes).data
            before = self.uploads.put(visitor, "before.jpg", data)
            if not placed:
                photo["before"] = before
        after = self.uploads.put(visitor, f"after.{result.kind}", result.data, transient=True)
        value = {
            "photo": photo["id"], "turn": turn, "version": look["version"], "before": before,
            "after": after, "alt": f"{view} of {photo['name']}",
            "parts": self._parts(visitor, photo, image, options) if look["picking"] else None,
        }  # fmt: skip
        size, exact = result.size, not placed
        if canvas and canvas.size:
            size, exact = canvas.size, True
        elif placed:
            H, W = result.size
            scale = max(1.0, math.sqrt(H * W / (PREVIEW_MP * 1e6)))
            width, height = _size_of(result.data)
            size, exact = (round(height * scale), round(width * scale)), scale == 1
        status = text.times(result, seconds, size, exact=exact)
        return [text.NOTHING_FOUND if result.empty else "", value, status]

    def _parts(
        self, visitor: str, photo: dict[str, Any], image: bytes, options: Options
    ) -> str | None:
        """Return the address of a picture's parts, found without anything being picked.

        None for a network that finds nothing unless it is asked.
        """
        (spec,) = [spec for spec in self.engine.models if spec.name == options.model]
        if not spec.finds_subjects:
            return None
        whole = options.replace(result="parts", points="", box=None)
        if photo["parts"][0] != whole:
            address = self.uploads.put(visitor, "parts.png", self.engine(image, whole).data)
            photo["parts"] = whole, address
        return str(photo["parts"][1])

    def _download(self, request: gr.Request, session: Session, kind: str, *form: Any) -> list[Any]:
        """Cut the picture out at its own size, and hand it over."""
        if (photo := session.photo) is None:
            return [gr.skip()] * 3
        start = time.perf_counter()
        try:
            visitor = _visitor(request)
            options = self._options(visitor, form, session.look).replace(format=_known(kind))
            image = self.uploads.find(visitor, photo).read_bytes()
            result = self.engine(image, options, read_strokes(session.look["strokes"]))
        except AlphacutError as error:
            return [gr.skip(), self._problem(error, photo["name"]), gr.skip()]
        name = f"{Path(photo['name']).stem}-cutout.{result.kind}"
        file = {"name": name, "address": self.uploads.put(visitor, name, result.data)}
        width, height = _size_of(result.data)
        seconds = time.perf_counter() - start
        return [file, gr.skip(), text.times(result, seconds, (height, width), exact=True)]

    def _separate(self, request: gr.Request, session: Session, *form: Any) -> list[Any]:
        """Cut each subject out of the picture at its own size."""
        if (photo := session.photo) is None:
            return [gr.skip()] * 2
        try:
            visitor = _visitor(request)
            options = self._options(visitor, form, session.look).replace(
                format="ora", subjects="separate", background="transparent", shadow="none"
            )
            image = self.uploads.find(visitor, photo).read_bytes()
            result = self.engine(image, options, read_strokes(session.look["strokes"]))
        except AlphacutError as error:
            return [gr.skip(), self._problem(error, photo["name"])]
        if result.empty:
            return ["", text.NOTHING_FOUND]
        with zipfile.ZipFile(io.BytesIO(result.data)) as layers:  # the uppermost comes first
            files = [layers.read(name) for name in layers.namelist() if name.startswith("data/")]
        stem = Path(photo["name"]).stem
        names = [f"{stem}-cutout-{number}.png" for number in range(1, len(files) + 1)]
        found = [self.uploads.put(visitor, *file) for file in zip(names, files, strict=True)]
        return [text.subjects(found, names), ""]

    def _options(
        self,
        visitor: str,
        given: Sequence[Any],
        look: Mapping[str, Any] = _LOOK,
        *,
        plain: bool = False,
    ) -> Options:
        """Make options of the form's values and what was picked.

        If plain, they are without background, crop and shadow.

        Raises:
            AlphacutError: if a value is invalid, or the background picture is missing.
        """
        form = dict(zip(self.form, given, strict=True))
        changes = {name: form[name] for name in ("model", "runtime", "device", "quality")}
        if changes["model"] not in [spec.name for spec in self.engine.models]:
            raise OptionError("model", changes["model"], "is not on this machine: choose another")
        # a real shadow is measured against the ground
        kept = form["shadow"] == "keep" and not plain
        changes["ground"] = "auto" if form["ground"] or kept else "off"
        changes["points"], changes["box"] = _read_picks(look["picks"])
        asked_for = next(spec for spec in self.engine.models if spec.name == form["model"])
        if not (asked_for.finds_subjects or changes["points"] or changes["box"]):
            changes["box"] = "0 0 100% 100%"  # it has to be asked something
        if not plain:
            changes |= {name: form[name] for name in ("preset", "crop", "shadow")}
            changes["size"] = str(form["size"] or "").strip() or None
            changes["margin"] = f"{form['margin']}%" if form["crop"] else self.options.margin
            changes["background"] = "transparent"  # said, or a preset would choose its own
            kind = form["background"]
            if kind == "Colour":
                if not values.find_colour(str(form["colour"])):  # it might be a path here
                    raise OptionError("background", form["colour"], "is not a colour")
                changes["background"] = str(form["colour"])
            elif kind == "Blur":
                changes["background"] = f"blur:{float(form['blur'])}%"
            elif kind == "Picture" and form["picture"]:
                changes["background"] = self.uploads.find(visitor, form["picture"]).read_bytes()
        return self.options.replace(**changes)

    def _problem(self, error: AlphacutError, name: str) -> str:
        """Say what went wrong with a picture."""
        return text.problem(error, name, self.options.max_megapixels)

    # --- many pictures ----------------------------------------------------------------------------

    def _cut_many(
        self, request: gr.Request, session: Session, uploads: Any, kind: str, *form: Any
    ) -> Iterator[list[Any]]:
        """Cut out many pictures, and show the progress after each."""
        visitor = _visitor(request)
        go, wait = gr.update(interactive=True), gr.update(interactive=False)
        if not uploads:
            yield [text.note("mind", "Choose some pictures first."), go, gr.update(visible=False)]
            return
        stop = self.uploads.stop(visitor)
        stop.clear()
        try:
            options = self._options(visitor, form).replace(format=_known(kind))
        except AlphacutError as error:
            yield [self._problem(error, ""), go, gr.update(visible=False)]
            return
        session.many = uploads
        jobs = list(zip(uploads, result_names(map(file_name, uploads)), strict=True))
        begun = time.perf_counter()
        shown: list[text.Shown] = []
        failures: list[str] = []
        archive = self.uploads.new_folder(visitor) / "cutouts.zip"

        @side_by_side(self.engine.threads)
        def attempt(job: tuple[Mapping[str, Any], str]) -> tuple[str, EncodedResult | None, str]:
            upload, name = job
            if stop.is_set():
                return name, None, ""
            try:
                image = self.uploads.find(visitor, upload).read_bytes()
                return name, self.engine(image, options), ""
            except AlphacutError as error:
                return name, None, self._problem(error, file_name(upload))

        def progress(done: int) -> str:
            return text.progress(done, len(jobs), begun, shown, failures)

        yield [progress(0), wait, gr.update(visible=True)]
        outcomes = in_order(attempt, jobs, self.engine.threads)
        with zipfile.ZipFile(archive, "w") as file:  # results are compressed already
            for done, (name, result, problem) in enumerate(outcomes, 1):
                if problem:
                    failures.append(problem)
                if result:
                    name = f"{name}.{result.kind}"
                    file.writestr(name, result.data)
                    small = text.thumbnail(result)
                    address = self.uploads.put(visitor, "thumbnail.webp", small)
                    shown.append(text.Shown(done - 1, name, address, result.empty, result.doubt))
                if stop.is_set():
                    outcomes.close()
                    break
                yield [progress(done), wait, gr.skip()]
        address = self.uploads.address(archive) if shown else ""
        end = text.finished(len(jobs), address, shown, failures, cancelled=stop.is_set())
        yield [end, go, gr.update(visible=False)]

    # --- a film -----------------------------------------------------------------------------------

    def _cut_film(self, request: gr.Request, upload: Any, *form: Any) -> Iterator[list[Any]]:
        """Cut out a film, and show how far it is."""
        visitor = _visitor(request)
        go, wait = gr.update(interactive=True), gr.update(interactive=False)
        if not upload:
            yield [text.note("mind", "Choose a clip first."), go, gr.update(visible=False)]
            return
        stop = self.uploads.stop(visitor)
        stop.clear()
        steps: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

        def tell(done: int, total: int | None) -> None:
            if stop.is_set():
                raise _StoppedError
            steps.put(text.film_progress(done, total))

        def work(source: Path, dest: Path, options: Options) -> None:
            try:
                assert isinstance(self.engine, LocalEngine)  # or there is no such tab
                self.engine.cut_film(source, dest, options, tell)
                steps.put(None)
            except BaseException as error:
                steps.put(error)

        try:
            options = self._options(visitor, form).replace(format="auto")
            source = self.uploads.find(visitor, upload)
            seconds = open_film(source, max_megapixels=options.max_megapixels).duration_s
            if seconds is not None and seconds > FILM_S + 0.5:
                raise ImageError(f"{source}: is longer than {FILM_S} seconds: shorten it", "long")
            kind = "mp4" if is_opaque(options) else "webm"
            (name,) = result_names([file_name(upload)])
            dest = self.uploads.new_folder(visitor) / f"{name}.{kind}"
        except AlphacutError as error:
            yield [text.problem_of_film(error, file_name(upload)), go, gr.update(visible=False)]
            return
        yield [text.film_progress(0, None), wait, gr.update(visible=True)]
        threading.Thread(target=work, args=(source, dest, options), daemon=True).start()
        while isinstance(step := steps.get(), str):
            yield [step, wait, gr.skip()]
        if step is None:
            end = text.film_player(self.uploads.address(dest), dest.name)
        elif isinstance(step, _StoppedError):
            end = text.note("mind", "Cancelled.")
        elif isinstance(step, AlphacutError):
            end = text.problem_of_film(step, file_name(upload))
        else:
            raise step
        yield [end, go, gr.update(visible=False)]

    def _cancel(self, request: gr.Request) -> None:
        """Stop a visitor's work on many pictures, or on a film, after what has begun."""
        self.uploads.stop(_visitor(request)).set()

    def _claim(self, request: gr.Request, uploads: Any) -> None:
        """Count what a visitor has uploaded as theirs, even if nothing is ever done with it."""
        for upload in uploads if isinstance(uploads, list) else [uploads]:
            with contextlib.suppress(ImageError):
                self.uploads.find(_visitor(request), upload or {})

    def _leave(self, request: gr.Request) -> None:
        """Delete what belongs to a visitor who has left."""
        self.uploads.forget(_visitor(request))


class _StoppedError(Exception):
    """A visitor has cancelled their film."""


def _events(widget: Any) -> list[Any]:
    """Return what says that a setting was changed: not "input", where that fires too often."""
    if isinstance(widget, gr.Textbox):  # at every letter
        return [widget.submit, widget.blur]
    if isinstance(widget, gr.Dropdown | gr.ColorPicker):  # when focus is lost; not when one types
        return [widget.change]
    return [widget.input]


def _read_picks(picks: Any) -> tuple[str, str | None]:
    """Return the points and the box of what was picked, the last box counting.

    Args:
        picks: Lists of shares of the picture: x, y, whether to keep; or left, top, right, bottom.

    Raises:
        OptionError: if they are not.
    """
    points, box = [], None
    try:
        for pick in picks:
            shares = [float(share) for share in pick[: 4 if len(pick) == 4 else 2]]
            if len(pick) not in (3, 4) or not all(0 <= share <= 1 for share in shares):
                raise ValueError
            text = " ".join(f"{100 * share:.3f}%" for share in shares)
            if len(pick) == 4:
                box = text
            else:
                points.append(text + (" keep" if pick[2] is True else " drop"))
    except (TypeError, ValueError) as error:
        raise OptionError("points", "...", "give points and boxes in the picture") from error
    return "; ".join(points), box


def _size_of(data: bytes) -> tuple[int, int]:
    """Return width and height of an encoded picture."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        return image.size


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def result_names(names: Iterable[str]) -> list[str]:
    """Name results after their pictures, without endings; the second of a name gets a 2."""
    found: dict[str, str] = {}  # by what every system considers the same name
    for stem in (Path(name).stem for name in names):
        name, number = stem, 1
        while name.casefold() in found:
            number += 1
            name = f"{stem}-{number}"
        found[name.casefold()] = name
    return list(found.values())


def _known(kind: str) -> FileFormat:
    """Return a format that is offered: what comes from the browser is not trusted."""
    return next((known for _, known in FORMATS if known == kind), "png")
