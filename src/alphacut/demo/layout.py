"""The page's widgets: what is on it, and where."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from alphacut.demo import text
from alphacut.demo.engine import Engine, LocalEngine
from alphacut.demo.gradio_import import gr
from alphacut.demo.uploads import Uploads
from alphacut.options import FileFormat, Options
from alphacut.video.read import FILM_SUFFIXES

HERE = Path(__file__).parent
EXAMPLES = {"astronaut.jpg": "An astronaut", "cat.jpg": "A cat", "coffee.jpg": "A cup of coffee"}
BACKGROUNDS = ("Transparent", "Colour", "Picture", "Blur")
FORMATS: tuple[tuple[str, FileFormat], ...] = (("PNG", "png"), ("WebP", "webp"), ("JPG", "jpg"))
FILM_S = 30  # seconds of a film at most
TITLE = "alphacut: remove the background of pictures"


class Layout:
    """The widgets, added to the `gr.Blocks` that is being built.

    Args:
        engine: What there is to choose from.
        options: What the page starts with.
        uploads: Where files are.
        session: What each visitor's state starts as.

    Attributes:
        session: A visitor's state.
        one: The widgets for one picture, by what they are for.
        many: Those for many pictures.
        form: The settings, by what they set.
        settings: What holds the form.
        tabs: What holds all tabs, that for one picture first.
        film: The widgets for a film; empty where films cannot be cut out.
    """

    def __init__(self, engine: Engine, options: Options, uploads: Uploads, session: Any) -> None:
        self._engine, self._options, self._uploads = engine, options, uploads
        gr.HTML(
            '<p class="brand">alphacut</p><h1>Remove the background of a picture</h1>'
            "<p>Your pictures go to the machine that runs this page and nowhere else. "
            "They are deleted when you leave.</p>",
            elem_id="head",
        )
        self.session = gr.State(session)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320), gr.Tabs() as self.tabs:
                with gr.Tab("One picture", id="one"):
                    self.one = self._add_one()
                with gr.Tab("Many pictures", id="many"):
                    self.many = self._add_many()
                self.film: dict[str, Any] = {}
                if takes_films(engine):
                    with gr.Tab("A film", id="film"):
                        self.film = self._add_film()
            with gr.Column(scale=2, min_width=300, visible=False) as self.settings:
                self.form = self._add_form()

    def _add_one(self) -> dict[str, Any]:
        """Add the tab for one picture."""
        one: dict[str, Any] = {"problem": gr.HTML(elem_id="problem")}
        with gr.Column() as one["start"]:
            one["upload"] = gr.Image(
                sources=["upload", "webcam", "clipboard"], type="filepath", height=340,
                label="Your picture", elem_id="photo", buttons=[],
            )  # fmt: skip
            one["cancel"] = gr.Button("Cancel", visible=False)
            buttons = "".join(
                f'<button type="button" data-name="{name}"><img src="'
                f'{self._uploads.address(HERE / "examples" / name)}" alt="{words}" /></button>'
                for name, words in EXAMPLES.items()
            )
            one["examples"] = gr.HTML(
                html_template=f'<h2>Or try one of these</h2><div class="row">{buttons}</div>',
                js_on_load="element.querySelectorAll('button').forEach((one) => "
                "one.addEventListener('click', () => trigger('choose', {name: one.dataset.name})))",
                elem_id="examples",
            )
        with gr.Column(visible=False) as one["result"]:
            one["viewer"] = gr.HTML(
                html_template=(HERE / "viewer.html").read_text(encoding="utf-8"),
                js_on_load=(HERE / "viewer.js").read_text(encoding="utf-8"),
                elem_id="viewer",
            )
            one["status"] = gr.HTML(elem_id="status")
            with gr.Row(equal_height=True):
                one["format"] = gr.Radio(
                    FORMATS, value="png", label="File", scale=2,
                    info="JPG has no transparency; the background becomes white.",
                )  # fmt: skip
                with gr.Column(scale=1, min_width=160):
                    one["download"] = gr.Button("Download", variant="primary", size="lg")
                    one["again"] = gr.Button("New picture", variant="secondary")
            one["separate"] = gr.Button("Subjects one by one", variant="secondary")
            one["subjects"] = gr.HTML(elem_id="subjects")
            one["saver"] = gr.HTML(
                html_template="",
                js_on_load="watch('value', () => { const file = props.value; if (!file) return; "
                "const link = document.createElement('a'); link.href = file.address; "
                "link.download = file.name; link.click(); })",
            )
        return one

    def _add_many(self) -> dict[str, Any]:
        """Add the tab for many pictures."""
        many: dict[str, Any] = {
            "upload": gr.File(file_count="multiple", label="Your pictures", height=220,
                              elem_id="photos"),
            "format": gr.Radio(FORMATS, value="png", label="Files"),
        }  # fmt: skip
        with gr.Row():
            many["go"] = gr.Button("Remove the backgrounds", variant="primary", size="lg")
            many["cancel"] = gr.Button("Cancel", visible=False, size="lg")
        many["done"] = gr.HTML(
            elem_id="many-done",
            js_on_load="element.addEventListener('click', (event) => { "
            "const one = event.target.closest('[data-open]'); "
            "if (one) trigger('choose', {index: Number(one.dataset.open)}); })",
        )
        return many

    def _add_film(self) -> dict[str, Any]:
        """Add the tab for a film."""
        film: dict[str, Any] = {
            "upload": gr.File(
                file_types=sorted(FILM_SUFFIXES), height=160, elem_id="film",
                label=f"Your clip, of at most {FILM_S} seconds",
            ),
        }  # fmt: skip
        with gr.Row():
            film["go"] = gr.Button("Remove the background", variant="primary", size="lg")
            film["cancel"] = gr.Button("Cancel", visible=False, size="lg")
        film["done"] = gr.HTML(elem_id="film-done")
        return film

    def _add_form(self) -> dict[str, Any]:
        """Add the settings: a widget for each field of `Options` that is offered."""
        form: dict[str, Any] = {}
        form["background"] = gr.Radio(BACKGROUNDS, value=BACKGROUNDS[0], label="Background")
        form["colour"] = gr.ColorPicker("#ffffff", label="Colour", visible=False)
        form["picture"] = gr.Image(
            sources=["upload", "clipboard"], type="filepath", height=180, visible=False,
            label="Background picture", buttons=[], elem_id="background-picture",
        )  # fmt: skip
        form["blur"] = gr.Slider(0.5, 10, 2, step=0.5, visible=False, label="Blur",
                                 info="In percent of the shorter side.")  # fmt: skip
        details = [form["colour"], form["picture"], form["blur"]]
        form["background"].change(
            lambda kind: [gr.update(visible=kind == name) for name in BACKGROUNDS[1:]],
            form["background"], details, queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        qualities = _choices("quality")
        if importlib.util.find_spec("pymatting") is None:
            qualities = qualities[:1]
        form["quality"] = gr.Radio(qualities, **self._field("quality", "Edges"))
        form["ground"] = gr.Checkbox(
            self._options.solves_ground, label="Plain background",
            info="Paper, a wall or a screen of one colour: thin parts and gaps come out finer. "
            "Other pictures stay as they are.",
        )  # fmt: skip
        with gr.Accordion("Crop, shape and shadow", open=False):
            form["preset"] = gr.Dropdown(_choices("preset"), **self._field("preset", "Preset"))
            form["size"] = gr.Textbox(
                "", label="Size", placeholder="800x600", max_lines=1,
                info="In pixels, or a ratio such as 1:1; empty for the picture's own.",
            )  # fmt: skip
            form["crop"] = gr.Checkbox(**self._field("crop", "Crop"))
            form["margin"] = gr.Slider(0, 50, 0, step=1, label="Margin around the crop",
                                       info="In percent of the subject.")  # fmt: skip
            form["shadow"] = gr.Radio(_choices("shadow"), **self._field("shadow", "Shadow"))
        with gr.Accordion("Model", open=False):
            form["model"] = gr.Dropdown(
                [spec.name for spec in self._engine.models], value=self._options.model,
                label="Model", info=self._describe(self._options.model),
            )  # fmt: skip
            gr.HTML(text.list_absent(self._engine.absent), elem_id="absent")
            form["runtime"] = gr.Dropdown(
                self._engine.runtimes, **self._field("runtime", "Runtime")
            )
            form["device"] = gr.Dropdown(
                self._engine.devices(self._options.runtime), **self._field("device", "Device")
            )
        form["model"].change(lambda name: gr.update(info=self._describe(name)), form["model"],
                             form["model"], queue=False, api_visibility="private")  # fmt: skip
        form["runtime"].change(
            lambda name: gr.update(
                choices=self._engine.devices(name), value=self._options.device
            ),
            form["runtime"], form["device"], queue=False, api_visibility="private",
        )  # fmt: skip
        return form

    def _field(self, name: str, label: str) -> dict[str, Any]:
        """Return what a widget shows of a field of `Options`."""
        (field,) = [one for one in dataclasses.fields(Options) if one.name == name]
        return {
            "value": getattr(self._options, name),
            "label": label,
            "info": field.metadata["help"],
        }

    def _describe(self, model: str) -> str:
        """Say what a model is good at."""
        (spec,) = [spec for spec in self._engine.models if spec.name == model]
        return text.describe(spec)


def takes_films(engine: Engine) -> bool:
    """Tell whether films can be cut out here: in this process, with PyAV."""
    return isinstance(engine, LocalEngine) and importlib.util.find_spec("av") is not None


def _choices(name: str) -> list[tuple[str, str]]:
    """Return the choices of a field of `Options`: words for people, and values."""
    (field,) = [one for one in dataclasses.fields(Options) if one.name == name]
    return [(value.capitalize(), value) for value in field.metadata["choices"]]
