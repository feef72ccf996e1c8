"""Live pictures: a camera, or a film in its own time, on another background as it happens.

The newest picture wins: what comes while one is worked on is passed over, so the delay never grows.
Edges are steadied by the pictures before alone.
"""

import contextlib
import http.server
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alphacut.cutout import Cutout, place_frames
from alphacut.errors import ImageError, MissingExtra, OutputError
from alphacut.parallel import ahead
from alphacut.pipeline import image as images
from alphacut.pipeline.image import Image, Picture
from alphacut.remover import Remover
from alphacut.video.cut import check_options
from alphacut.video.read import Frame, open_film
from alphacut.video.steady import STEADY, steady

_DRIVERS = {
    "linux": "install v4l2loopback and run: sudo modprobe v4l2loopback exclusive_caps=1",
    "darwin": "install OBS 30 or later, and start and stop its virtual camera once",
    "win32": "install OBS, and start and stop its virtual camera once",
}
_PAGE = b"""<!doctype html><title>alphacut</title>
<style>body{margin:0;background:#222;display:grid;place-items:center;height:100vh}
img{max-width:100vw;max-height:100vh}</style><img src="/stream" alt="The camera, cut out">"""
_JPEG_QUALITY = 85
Send = Callable[[NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Shown:
    """One picture that was shown.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        latency_s: From its arrival until it was ready.
        passed_over: How many pictures came in the meantime and were not shown.
    """

    image: NDArray[np.uint8]
    latency_s: float
    passed_over: int


@dataclass(frozen=True)
class _Arrival:
    image: Image
    time_s: float
    number: int


def show_live(
    pictures: Iterator[Image],
    remover: Remover,
    *,
    steadiness: float = STEADY,
    **options: Any,
) -> Generator[Shown, None, None]:
    """Cut out live pictures, each as soon as it can be.

    Args:
        pictures: (H, W, 3) uint8, RGB, each when it arrives.
        remover: What cuts them out.
        steadiness: See `cut_frames`; only earlier pictures have a say.
        **options: Changes of the remover's own options, such as a background.

    Yields:
        Pictures on their background; nothing shines through.
    """
    chosen = check_options(remover.options.replace(**options))
    arrivals: dict[int, _Arrival] = {}

    def frames() -> Iterator[Frame]:
        with contextlib.closing(newest(pictures)) as coming:
            for arrival in coming:
                arrivals.clear()
                arrivals[arrival.number] = arrival
                yield Frame(Picture(arrival.image), arrival.number, 1, index=arrival.number)

    def find(frame: Frame) -> NDArray[np.float32]:
        return remover.find_subject(frame.picture.image, **options)

    shown = -1
    for seen in steady(frames(), find, steadiness, ahead=0):
        picture = seen.frame.picture
        cutout: Cutout = remover.cut(picture, seen.saliency, **options)
        placement = place_frames(cutout.size, None, None, chosen)
        raster = cutout.raster(chosen, placement, opaque=True)
        image = images.to_depth(raster.joined(), np.uint8)
        arrival = arrivals[seen.frame.index]
        yield Shown(np.asarray(image, np.uint8), time.perf_counter() - arrival.time_s,
                    arrival.number - shown - 1)  # fmt: skip
        shown = arrival.number


def newest(pictures: Iterator[Image]) -> Generator[_Arrival, None, None]:
    """Yield the newest picture whenever the caller is ready for one; earlier ones are dropped."""
    changed = threading.Condition()
    latest: list[_Arrival] = []
    ended: list[BaseException | None] = []
    stopped = False

    def draw() -> None:
        error: BaseException | None = None
        try:
            for number, image in enumerate(pictures):
                with changed:
                    latest[:] = [_Arrival(image, time.perf_counter(), number)]
                    changed.notify()
                if stopped:
                    return
        except BaseException as raised:
            error = raised
        with changed:
            ended.append(error)
            changed.notify()

    thread = threading.Thread(target=draw, name="alphacut-camera", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: latest or ended)
                if not latest:
                    if ended[0] is not None:
                        raise ended[0]
                    return
                arrival = latest.pop()
            yield arrival
    finally:
        stopped = True
        thread.join(timeout=5)


def open_source(source: str, *, size: tuple[int, int] | None = None) -> Iterator[Image]:
    """Open a camera by its number, or a film, whose pictures come at their own times.

    Args:
        source: A number, from 0, or a path.
        size: (H, W) to ask a camera for.

    Raises:
        ImageError: if there is no such camera, or the film cannot be read.
    """
    if not source.isdigit():
        film = open_film(Path(source))

        def play() -> Iterator[Image]:
            begun = time.perf_counter()
            for frame in ahead(film.read()):
                wait_s = begun + float(frame.pts * film.time_base) - time.perf_counter()
                if wait_s > 0:
                    time.sleep(wait_s)
                yield frame.picture.image

        return play()
    camera = cv2.VideoCapture(int(source))
    if not camera.isOpened():
        raise ImageError(f"camera {source}: there is none, or another program uses it")
    if size:
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])

    def record() -> Iterator[Image]:
        try:
            while True:
                there, image = camera.read()
                if not there:
                    raise ImageError(f"camera {source}: gives no more pictures", "gone")
                yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        finally:
            camera.release()

    return record()


@contextlib.contextmanager
def virtual_camera(size: tuple[int, int], fps: float = 30.0) -> Iterator[tuple[str, Send]]:
    """Open a virtual camera, which other programs can choose.

    Yields:
        Its name, and what to call with each picture.

    Raises:
        MissingExtra: if pyvirtualcam is not installed.
        OutputError: if the system has no driver for it.
    """
    try:
        import pyvirtualcam
    except ModuleNotFoundError as error:
        raise MissingExtra("pyvirtualcam, which feeds other programs,", "camera") from error
    try:
        camera = pyvirtualcam.Camera(width=size[1], height=size[0], fps=fps)
    except RuntimeError as error:
        advice = _DRIVERS.get(sys.platform, "see the documentation of pyvirtualcam")
        raise OutputError(f"no virtual camera here: {advice}; or use --preview") from error
    with camera:
        yield camera.device, camera.send


class Preview:
    """A page on this machine that shows the pictures, for a browser.

    Args:
        port: Its port; 0 for any that is free.
    """

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self._closed = False
        preview = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                preview._answer(self)

            def log_message(self, format: str, *words: Any) -> None:
                pass

        try:
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise OutputError(f"port {port}: {error.strerror}: choose another --port") from error
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def send(self, image: NDArray[np.uint8]) -> None:
        """Show a picture, (H, W, 3) RGB."""
        settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
        with self._changed:
            self._jpeg, self._number = data.tobytes(), self._number + 1
            self._changed.notify_all()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.path == "/":
            request.send_response(200)
            request.send_header("Content-Type", "text/html; charset=utf-8")
            request.end_headers()
            request.wfile.write(_PAGE)
            return
        if request.path != "/stream":
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        request.end_headers()
        seen = 0
        with contextlib.suppress(OSError):  # the browser went away
            while True:
                with self._changed:
                    while self._number == seen and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    seen, jpeg = self._number, self._jpeg
                request.wfile.write(
                    b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
                    % (len(jpeg), jpeg)
                )

    def __enter__(self) -> "Preview":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
