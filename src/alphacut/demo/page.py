"""The page's widgets, and what happens when they are used."""

import dataclasses
import importlib.util
import secrets
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphacut import values
from alphacut.demo import words
from alphacut.demo.quick import gr
from alphacut.demo.shelf import Shelf, file_name
from alphacut.demo.work import Made, Work
from alphacut.errors import AlphacutError, OptionError
from alphacut.options import FileFormat, Options
from alphacut.parallel import in_order, side_by_side
from alphacut.pipeline.strokes import read_strokes

HERE = Path(__file__).parent
EXAMPLES = {"astronaut.jpg": "An astronaut", "cat.jpg": "A cat", "coffee.jpg": "A cup of coffee"}
PREVIEW_MP = 2.1  # what is shown; downloads are of the picture's own size
BACKGROUNDS = ("Transparent", "Colour", "Picture", "Blur")
FORMATS: tuple[tuple[str, FileFormat], ...] = (("PNG", "png"), ("WebP", "webp"), ("JPG", "jpg"))
_VIEWS: dict[str, dict[str, Any]] = {
    "checkerboard": {"background": "checkerboard"},
    "mask": {"result": "mask"},
    "trimap": {"result": "trimap", "save_trimap": True},
}
_LOOK: dict[str, Any] = {"view": "result", "painting": False, "strokes": [], "version": 0}
_QUEUE: dict[str, Any] = {
    "concurrency_id": "pictures",
    "preprocess": False,
    "api_visibility": "private",
}


class Desk:
    """What a visitor has before them. Several requests of theirs may be worked on at once.

    Attributes:
        photo: The picture, None before there is one.
        look: How the viewer last asked to show it.
        turn: How many results were begun: an earlier one is not shown over a later one.
    """

    def __init__(self) -> None:
        self.photo: dict[str, Any] | None = None
        self.look = _LOOK
        self.turn = 0


class Page:
    """One page for all visitors.

    Args:
        work: Cuts the pictures out.
        options: What the page begins with; `max_megapixels` is its limit.
        shelf: Where files lie.
    """

    def __init__(self, work: Work, options: Options, shelf: Shelf) -> None:
        self.work, self.options, self.shelf = work, options, shelf
        self.form: dict[str, Any] = {}
        self.blocks = self._build()

    # --- the widgets ------------------------------------------------------------------------------

    def _build(self) -> gr.Blocks:
        """Lay the page out and say what happens."""
        with gr.Blocks(title="alphacut: remove the background of pictures",
                       analytics_enabled=False) as blocks:  # fmt: skip
            gr.HTML(
                '<p class="brand">alphacut</p><h1>Remove the background of a picture</h1>'
                "<p>Your pictures go to the machine that runs this page and nowhere else. "
                "They are deleted when you leave.</p>",
                elem_id="head",
            )
            desk = gr.State(Desk())
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=320), gr.Tabs():
                    with gr.Tab("One picture") as one_tab:
                        one = self._add_one()
                    with gr.Tab("Many pictures") as many_tab:
                        many = self._add_many()
                with gr.Column(scale=2, min_width=300, visible=False) as settings:
                    self._add_settings()
            form = list(self.form.values())
            for start, value in ((one["upload"].input, one["upload"]),
                                 (one["examples"].choose, None)):  # fmt: skip
                start(
                    self._take if value else self._take_example,
                    [desk, value, *form] if value else [desk, *form],
                    [one["start"], one["result"], settings, one["problem"], one["viewer"],
                     one["status"], one["upload"]],
                    show_progress_on=[one["upload"]], **_QUEUE,
                )  # fmt: skip
            shown = [one["problem"], one["viewer"], one["status"]]
            one["viewer"].look(
                self._look, [desk, *form], shown,
                show_progress="minimal", show_progress_on=[one["viewer"]],
                trigger_mode="multiple", **_QUEUE,
            )  # fmt: skip
            gr.on(  # a dropdown says "input" again when it is left, and not only then
                [widget.change if isinstance(widget, gr.Dropdown) else widget.input
                 for widget in form],
                self._change, [desk, *form], shown,
                show_progress="minimal", show_progress_on=[one["viewer"]],
                trigger_mode="always_last", **_QUEUE,
            )  # fmt: skip
            one["again"].click(
                self._clear, desk,
                [one["upload"], one["start"], one["result"], settings, one["problem"]],
                queue=False, api_visibility="private",
            )  # fmt: skip
            one["download"].click(
                self._download, [desk, one["format"], *form], [one["saver"], one["problem"]],
                show_progress_on=[one["download"]], **_QUEUE,
            )  # fmt: skip
            many["go"].click(
                self._cut_many, [many["upload"], many["format"], *form],
                [many["done"], many["go"], many["cancel"]], show_progress_on=[many["go"]],
                show_progress="minimal", **{**_QUEUE, "concurrency_id": "many"},
            )  # fmt: skip
            many["cancel"].click(self._cancel, queue=False, api_visibility="private")
            one_tab.select(lambda desk: gr.update(visible=desk.photo is not None), desk, settings,
                           queue=False, api_visibility="private")  # fmt: skip
            many_tab.select(lambda: gr.update(visible=True), None, settings, queue=False,
                            api_visibility="private")  # fmt: skip
            blocks.unload(self._leave)
        blocks.queue(default_concurrency_limit=self.work.at_once, max_size=64)
        return blocks

    def _add_one(self) -> dict[str, Any]:
        """Add the tab for one picture."""
        parts: dict[str, Any] = {"problem": gr.HTML(elem_id="problem")}
        with gr.Column() as parts["start"]:
            parts["upload"] = gr.Image(
                sources=["upload", "webcam", "clipboard"], type="filepath", height=340,
                label="Your picture", elem_id="photo", buttons=[],
            )  # fmt: skip
            buttons = "".join(
                f'<button type="button" data-name="{name}"><img src="'
                f'{self.shelf.address(HERE / "examples" / name)}" alt="{words}" /></button>'
                for name, words in EXAMPLES.items()
            )
            parts["examples"] = gr.HTML(
                html_template=f'<h2>Or try one of these</h2><div class="row">{buttons}</div>',
                js_on_load="element.querySelectorAll('button').forEach((one) => "
                "one.addEventListener('click', () => trigger('choose', {name: one.dataset.name})))",
                elem_id="examples",
            )
        with gr.Column(visible=False) as parts["result"]:
            parts["viewer"] = gr.HTML(
                html_template=(HERE / "viewer.html").read_text(encoding="utf-8"),
                js_on_load=(HERE / "viewer.js").read_text(encoding="utf-8"),
                elem_id="viewer",
            )
            parts["status"] = gr.HTML(elem_id="status")
            with gr.Row(equal_height=True):
                parts["format"] = gr.Radio(
                    FORMATS, value="png", label="File", scale=2,
                    info="JPG knows no transparency: it is put on white.",
                )  # fmt: skip
                with gr.Column(scale=1, min_width=160):
                    parts["download"] = gr.Button("Download", variant="primary", size="lg")
                    parts["again"] = gr.Button("New picture", variant="secondary")
            parts["saver"] = gr.HTML(
                html_template="",
                js_on_load="watch('value', () => { const file = props.value; if (!file) return; "
                "const link = document.createElement('a'); link.href = file.address; "
                "link.download = file.name; link.click(); })",
            )
        return parts

    def _add_many(self) -> dict[str, Any]:
        """Add the tab for many pictures."""
        parts: dict[str, Any] = {
            "upload": gr.File(file_count="multiple", label="Your pictures", height=220,
                              elem_id="photos"),
            "format": gr.Radio(FORMATS, value="png", label="Files"),
        }  # fmt: skip
        with gr.Row():
            parts["go"] = gr.Button("Remove the backgrounds", variant="primary", size="lg")
            parts["cancel"] = gr.Button("Cancel", visible=False, size="lg")
        parts["done"] = gr.HTML(elem_id="many-done")
        return parts

    def _add_settings(self) -> None:
        """Add the widgets of the form, one for each field of `Options` that is offered."""
        form = self.form
        form["background"] = gr.Radio(BACKGROUNDS, value=BACKGROUNDS[0], label="Background")
        form["colour"] = gr.ColorPicker("#ffffff", label="Colour", visible=False)
        form["picture"] = gr.Image(
            sources=["upload", "clipboard"], type="filepath", height=180, visible=False,
            label="Background picture", buttons=[], elem_id="background-picture",
        )  # fmt: skip
        form["blur"] = gr.Slider(0.5, 10, 2, step=0.5, visible=False, label="Blur",
                                 info="In percent of the shorter side.")  # fmt: skip
        kinds = [form["colour"], form["picture"], form["blur"]]
        form["background"].change(
            lambda kind: [gr.update(visible=kind == name) for name in BACKGROUNDS[1:]],
            form["background"], kinds, queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        qualities = _choices("quality")
        if importlib.util.find_spec("pymatting") is None:
            qualities = qualities[:1]
        form["quality"] = gr.Radio(qualities, **self._facts("quality", "Edges"))
        with gr.Accordion("Crop, shape and shadow", open=False):
            form["preset"] = gr.Dropdown(_choices("preset"), **self._facts("preset", "Preset"))
            form["crop"] = gr.Checkbox(**self._facts("crop", "Crop"))
            form["margin"] = gr.Slider(0, 50, 0, step=1, label="Room around a crop",
                                       info="In percent of the subject.")  # fmt: skip
            form["shadow"] = gr.Radio(_choices("shadow"), **self._facts("shadow", "Shadow"))
        with gr.Accordion("Model", open=False):
            form["model"] = gr.Dropdown(
                [spec.name for spec in self.work.models], value=self.options.model, label="Model",
                info=self._manners(self.options.model),
            )  # fmt: skip
            form["runtime"] = gr.Dropdown(self.work.runtimes, **self._facts("runtime", "Runtime"))
            form["device"] = gr.Dropdown(
                self.work.devices(self.options.runtime), **self._facts("device", "Device")
            )
        form["model"].change(lambda name: gr.update(info=self._manners(name)), form["model"],
                             form["model"], queue=False, api_visibility="private")  # fmt: skip
        form["runtime"].change(
            lambda name: gr.update(choices=self.work.devices(name), value=self.options.device),
            form["runtime"], form["device"], queue=False, api_visibility="private",
        )  # fmt: skip

    def _facts(self, name: str, label: str) -> dict[str, Any]:
        """Return what the form says about a field of `Options`."""
        (field,) = [one for one in dataclasses.fields(Options) if one.name == name]
        return {
            "value": getattr(self.options, name),
            "label": label,
            "info": field.metadata["help"],
        }

    def _manners(self, model: str) -> str:
        """Say what a model is like."""
        (spec,) = [spec for spec in self.work.models if spec.name == model]
        return words.describe(spec)

    # --- one picture ------------------------------------------------------------------------------

    def _take(
        self, request: gr.Request, desk: Desk, upload: Mapping[str, Any] | None, *form: Any
    ) -> list[Any]:
        """Begin with a picture that was uploaded."""
        if not upload:
            return [gr.skip()] * 7
        return self._begin(request, desk, upload, form)

    def _take_example(
        self, event: gr.EventData, request: gr.Request, desk: Desk, *form: Any
    ) -> list[Any]:
        """Begin with an example."""
        name = event.name if event.name in EXAMPLES else next(iter(EXAMPLES))
        path = self.shelf.place(_visitor(request)) / name
        path.write_bytes((HERE / "examples" / name).read_bytes())
        return self._begin(request, desk, {"path": str(path), "orig_name": name}, form)

    def _begin(
        self, request: gr.Request, desk: Desk, upload: Mapping[str, Any], form: Any
    ) -> list[Any]:
        """Show a picture's first result, or why there is none."""
        name = file_name(upload)
        desk.photo = photo = {"path": upload.get("path"), "name": name, "id": secrets.token_hex(8),
                              "before": None}  # fmt: skip
        desk.look = _LOOK
        begun = True
        try:
            shown = [*self._render(request, desk, photo, form), gr.skip()]
        except AlphacutError as error:
            begun, shown = False, [words.problem(error, name), None, "", None]
        if desk.photo is not photo:  # another one was chosen meanwhile
            return [gr.skip()] * 7
        if not begun:
            desk.photo = None
        return [gr.update(visible=not begun), *[gr.update(visible=begun)] * 2, *shown]

    def _clear(self, desk: Desk) -> list[Any]:
        """Make room for a new picture."""
        desk.photo = None
        return [None, gr.update(visible=True), *[gr.update(visible=False)] * 2, ""]

    def _look(self, event: gr.EventData, request: gr.Request, desk: Desk, *form: Any) -> list[Any]:
        """Show the picture as the viewer asks: another view, or with what was painted."""
        look = {name: getattr(event, name) for name in _LOOK}
        if desk.photo is None or event.photo != desk.photo["id"]:
            return [gr.skip()] * 3
        if look["version"] <= desk.look["version"]:  # a later one has come before it
            return [gr.skip()] * 3
        desk.look = look
        return self._change(request, desk, *form)

    def _change(self, request: gr.Request, desk: Desk, *form: Any) -> list[Any]:
        """Show the picture with other settings."""
        if (photo := desk.photo) is None:
            return [gr.skip()] * 3
        try:
            shown = self._render(request, desk, photo, form)
        except AlphacutError as error:
            shown = [words.problem(error, photo["name"]), gr.skip(), gr.skip()]
        return shown if desk.photo is photo else [gr.skip()] * 3

    def _render(
        self, request: gr.Request, desk: Desk, photo: dict[str, Any], form: Any
    ) -> list[Any]:
        """Cut the picture out at the size in which it is shown.

        Returns:
            What there is to mind, and the viewer's and the status's values.
        """
        visitor, look = _visitor(request), desk.look
        desk.turn = turn = desk.turn + 1
        picture = self.shelf.take(visitor, photo).read_bytes()
        painted = read_strokes(look["strokes"])
        options = self._options(visitor, form, plain=look["painting"])
        options = options.replace(output_megapixels=PREVIEW_MP, format="png")
        placed = options.crop or options.preset != "none"
        view = "result" if look["painting"] else look["view"]
        start = time.perf_counter()
        made = self.work(picture, options.replace(**_VIEWS.get(view, {})), painted)
        seconds = time.perf_counter() - start
        before = None if placed else photo["before"]
        if before is None:
            # The foreground before its colours are cleaned is the photo, framed like the result
            same = options.replace(
                result="foreground", decontaminate=False, format="jpg",
                matting=options.matting if placed else "none",
            )  # fmt: skip
            before = self.shelf.put(visitor, "before.jpg", self.work(picture, same, painted).data)
            if not placed:
                photo["before"] = before
        value = {
            "photo": photo["id"], "turn": turn, "version": look["version"], "before": before,
            "after": self.shelf.put(visitor, f"after.{made.kind}", made.data, passing=True),
            "alt": f"{view} of {photo['name']}",
        }  # fmt: skip
        return [words.NOTHING_FOUND if made.empty else "", value, words.times(made, seconds)]

    def _download(self, request: gr.Request, desk: Desk, kind: str, *form: Any) -> list[Any]:
        """Cut the picture out at its own size, and hand it over."""
        if (photo := desk.photo) is None:
            return [gr.skip()] * 2
        try:
            visitor = _visitor(request)
            options = self._options(visitor, form).replace(format=_known(kind))
            picture = self.shelf.take(visitor, photo).read_bytes()
            made = self.work(picture, options, read_strokes(desk.look["strokes"]))
        except AlphacutError as error:
            return [gr.skip(), words.problem(error, photo["name"])]
        name = f"{Path(photo['name']).stem}-cutout.{made.kind}"
        return [{"name": name, "address": self.shelf.put(visitor, name, made.data)}, gr.skip()]

    def _options(self, visitor: str, given: Sequence[Any], *, plain: bool = False) -> Options:
        """Make options of the form's values; without what lies behind or around if plain.

        Raises:
            AlphacutError: if a value cannot be, or the background is missing.
        """
        form = dict(zip(self.form, given, strict=True))
        changes = {name: form[name] for name in ("model", "runtime", "device", "quality")}
        if changes["model"] not in [spec.name for spec in self.work.models]:
            raise OptionError("model", changes["model"], "is not here: choose another")
        if not plain:
            changes |= {name: form[name] for name in ("preset", "crop", "shadow")}
            changes["margin"] = f"{form['margin']}%" if form["crop"] else self.options.margin
            kind = form["background"]
            if kind == "Colour":
                if not values.find_colour(str(form["colour"])):  # it might be a path here
                    raise OptionError("background", form["colour"], "is no colour")
                changes["background"] = str(form["colour"])
            elif kind == "Blur":
                changes["background"] = f"blur:{float(form['blur'])}%"
            elif kind == "Picture" and form["picture"]:
                changes["background"] = self.shelf.take(visitor, form["picture"]).read_bytes()
        return self.options.replace(**changes)

    # --- many pictures ----------------------------------------------------------------------------

    def _cut_many(
        self, request: gr.Request, uploads: Any, kind: str, *form: Any
    ) -> Iterator[list[Any]]:
        """Cut out many pictures, and tell how far it is after each."""
        visitor = _visitor(request)
        go, wait = gr.update(interactive=True), gr.update(interactive=False)
        if not uploads:
            yield [words.note("mind", "Choose some pictures first."), go, gr.update(visible=False)]
            return
        stop = self.shelf.stop(visitor)
        stop.clear()
        try:
            options = self._options(visitor, form).replace(format=_known(kind))
        except AlphacutError as error:
            yield [words.problem(error, ""), go, gr.update(visible=False)]
            return
        jobs = list(zip(uploads, result_names(map(file_name, uploads)), strict=True))
        begun = time.perf_counter()
        thumbnails: list[tuple[str, str]] = []
        failures: list[str] = []
        archive = self.shelf.place(visitor) / "cutouts.zip"

        def attempt(job: tuple[Mapping[str, Any], str]) -> tuple[str, Made | None, str]:
            upload, name = job
            if stop.is_set():
                return name, None, ""
            try:
                return name, self.work(self.shelf.take(visitor, upload).read_bytes(), options), ""
            except AlphacutError as error:
                return name, None, words.problem(error, file_name(upload))

        yield [
            words.progress(0, len(jobs), begun, thumbnails, failures),
            wait,
            gr.update(visible=True),
        ]
        at_once = side_by_side(self.work.at_once)
        outcomes = in_order(at_once(attempt), jobs, self.work.at_once)
        # results are compressed as they are
        with zipfile.ZipFile(archive, "w") as file:
            for done, (name, made, problem) in enumerate(outcomes, 1):
                if problem:
                    failures.append(problem)
                if made:
                    name = f"{name}.{made.kind}"
                    file.writestr(name, made.data)
                    thumbnails.append(
                        (name, self.shelf.put(visitor, "thumbnail.webp", words.thumbnail(made)))
                    )
                if stop.is_set():
                    outcomes.close()
                    break
                yield [
                    words.progress(done, len(jobs), begun, thumbnails, failures),
                    wait,
                    gr.skip(),
                ]
        address = self.shelf.address(archive) if thumbnails else ""
        end = words.finished(len(jobs), address, thumbnails, failures, cancelled=stop.is_set())
        yield [end, go, gr.update(visible=False)]

    def _cancel(self, request: gr.Request) -> None:
        """Stop a visitor's work on many pictures after those that have begun."""
        self.shelf.stop(_visitor(request)).set()

    def _leave(self, request: gr.Request) -> None:
        """Delete what belongs to a visitor who has gone."""
        self.shelf.forget(_visitor(request))


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def result_names(names: Iterable[str]) -> list[str]:
    """Name results after their pictures, without endings; the second of a name gets a 2."""
    found: dict[str, str] = {}  # by what is the same name to every system
    for stem in (Path(name).stem for name in names):
        name, number = stem, 1
        while name.casefold() in found:
            number += 1
            name = f"{stem}-{number}"
        found[name.casefold()] = name
    return list(found.values())


def _choices(name: str) -> list[tuple[str, str]]:
    """Return what can be chosen for a field of `Options`: words for people, and values."""
    (field,) = [one for one in dataclasses.fields(Options) if one.name == name]
    return [(value.capitalize(), value) for value in field.metadata["choices"]]


def _known(kind: str) -> FileFormat:
    """Return a format that is offered: what comes from the network is not trusted."""
    return next((known for _, known in FORMATS if known == kind), "png")
