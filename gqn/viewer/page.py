"""The page of a visit: viser draws recorded cameras, the imagined view behind them, and the controls.

A picture is drawn behind the scene of three dimensions, as large as its field of view says, so that both fit.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from math import radians, tan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gqn.core.camera import axes, levelled
from gqn.core.checked import checked
from gqn.core.errors import Error
from gqn.core.extras import extra
from gqn.data.batches import Scenes
from gqn.data.dataset import SceneDataset
from gqn.data.labelled_scenes import LabelledScenes
from gqn.models.graph import RecursiveGQN
from gqn.training.setup import check_pixels
from gqn.viewer.answers import Said
from gqn.viewer.session import MODES, Frame, Picture, Recorded, Session, WhatIf

HOST = "127.0.0.1"  # nobody else reaches the page
REST = 0.3  # seconds without a movement, after which all samples are drawn
SIDE = 384  # pixels, at least, to which a picture is enlarged, so that the browser does not blur it
GAP = "\u2003"  # right of a cell of a table
ELSEWHERE = "-"  # in place of a recorded view
ROOM = (26, 26, 30)  # colour beside the picture
IN, OUT = (60, 170, 90), (120, 120, 130)  # colours of views in the context and out of it
SAID, TRUE = (240, 150, 30), (60, 170, 90)  # colours of a place as a task says it and as it is


class Page:
    """A page on 127.0.0.1 over a session, until `close`.

    Args:
        session: the visit.
        port: of the page; another one near it where it is taken.

    Attributes:
        address: of the page.

    Raises:
        MissingExtra: where viser is not installed.
    """

    def __init__(self, session: Session, port: int = 8080) -> None:
        self.session = session
        self.server, self.address = served(port)
        self.visitors: dict[int, Visitor] = {}
        self.lock = threading.RLock()  # over the session, which one thread at a time may use
        self._wake, self._closed = threading.Event(), False
        self.server.scene.set_up_direction("+z")
        self.server.gui.configure_theme(dark_mode=True, show_share_button=False)
        self.server.gui.main_panel.dock_right()
        self._controls()
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(self._farewell)
        self._thread = threading.Thread(target=self._draw_on, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the page down."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self.server.stop()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the page in a frame."""
        return f'<iframe src="{self.address}" width="100%" height="640" style="border: 0"></iframe>'

    # Controls

    def _controls(self) -> None:
        gui, session = self.server.gui, self.session
        last = len(session.scenes) - 1
        with gui.add_folder("Scene"):
            self.scene = gui.add_number("number", 0, min=0, max=last, step=1, hint="A held-out scene, from 0")
            places = (ELSEWHERE, *(f"view {view}" for view in session.views))
            self.stand = gui.add_dropdown("stand at", places, hint=f"A recorded view; {ELSEWHERE} for any other place")
            self.cameras = gui.add_checkbox("cameras", True, hint="Show the recorded cameras; click one to take it")
        with gui.add_folder("Picture"):
            self.mode = gui.add_dropdown("draw", MODES, hint="A spread is the standard deviation, twice, of samples")
            another = gui.add_button("another sample")
            if len(session.drawings) > 1:
                task = gui.add_dropdown("task", tuple(session.drawings))
                task.on_update(lambda _: self._change(lambda: session.draw_by(task.value)))
        with gui.add_folder("Context"):
            for sense in session.senses:
                box = gui.add_checkbox(sense, True)
                box.on_update(lambda _, s=sense, b=box: self._change(lambda: session.switch(s, b.value)))
            for data in (data for data in session.counts if data not in session.pictured):
                hint = f"Observations of {data} in the context: the first so many"
                count = gui.add_slider(
                    f"{data}: how many", 0, session.counts[data], 1, len(session.chosen[data]), hint=hint
                )
                count.on_update(lambda _, d=data, c=count: self._change(lambda: session.take(d, c.value)))
        with gui.add_folder("What if", expand_by_default=False):
            self.supposed = {
                name: gui.add_number(label, -1, min=-1, max=last, step=1, hint=hint)
                for name, label, hint in (
                    ("context", "context of", "Another scene, whose views are shown; -1 for the scene's own"),
                    ("minus", "- scene", "Scene whose representation is taken off; -1 for none"),
                    ("plus", "+ scene", "Scene whose representation is added; -1 for none"),
                )
            }
        self.words = gui.add_markdown("")
        # The truth and the picture side by side, hidden where there is no truth: taken away and set anew, viser would
        # send the browser its last frame after it is gone.
        self.pair = gui.add_image(np.zeros((1, 2, 3), np.uint8), label="truth, imagined", format="png", visible=False)

        self.scene.on_update(lambda _: self._open())
        self.mode.on_update(lambda _: self._change(lambda: setattr(session, "mode", self.mode.value)))
        another.on_click(lambda _: self._change(lambda: setattr(session, "draw", session.draw + 1)))
        self.stand.on_update(lambda event: self._stand(event.client))
        self.cameras.on_update(lambda _: self._change(lambda: None))
        for control in self.supposed.values():
            control.on_update(lambda _: self._suppose())

    def _change(self, change: Callable[[], object]) -> None:
        """Change the session, and draw anew; what cannot be is said in the page."""
        with self.lock:
            try:
                change()
            except Error as error:
                self._refuse(error)
                return
            for visitor in self.visitors.values():
                visitor.mark()
                visitor.changed = True
        self._wake.set()

    def _refuse(self, error: Error) -> None:
        self.words.content = f"**{error}**"

    def _open(self) -> None:
        def change() -> None:
            self.session.open(int(self.scene.value))
            for visitor in self.visitors.values():
                visitor.show()

        for control in self.supposed.values():
            control.value = -1
        self._change(change)

    def _suppose(self) -> None:
        asked = {name: int(control.value) for name, control in self.supposed.items()}
        what_if = replace(WhatIf(), **{name: scene for name, scene in asked.items() if scene >= 0})
        if what_if != self.session.what_if:
            self._change(lambda: self.session.suppose(what_if))

    def _stand(self, client: Any) -> None:
        if client is None or self.stand.value == ELSEWHERE:
            return
        view = int(self.stand.value.split()[1])
        with self.lock:
            self.visitors[client.client_id].stand(self.session.views.index(view))

    # Visitors

    def _welcome(self, client: Any) -> None:
        visitor = Visitor(self, client)
        with self.lock:
            self.visitors[client.client_id] = visitor
            visitor.show()
            recorded = self.session.recorded
            visitor.stand(next((row for row, view in enumerate(recorded) if not view.chosen), 0))
        client.camera.on_update(lambda _: self._moved(visitor))
        self._moved(visitor)

    def _farewell(self, client: Any) -> None:
        with self.lock:
            self.visitors.pop(client.client_id, None)

    def _moved(self, visitor: "Visitor") -> None:
        visitor.changed = True
        self._wake.set()

    def _draw_on(self) -> None:
        """Draw for whoever moved; and once more with all samples for those who have come to rest."""
        rested = True
        while not self._closed:
            moved = self._wake.wait(None if rested else REST)
            self._wake.clear()
            for visitor in list(self.visitors.values()):
                with self.lock:
                    if visitor.changed or not moved:
                        visitor.changed = False
                        self._draw(visitor, moving=moved)
            rested = not moved

    def _draw(self, visitor: "Visitor", *, moving: bool) -> None:
        try:
            visitor.draw(moving=moving)
        except Error as error:  # as of a scene that cannot be read
            self._refuse(error)
        except (AssertionError, RuntimeError):  # viser's, of a browser that has left
            if visitor.there:
                raise

    def tell(self, row: int | None, picture: Picture | None, said: list[Said]) -> None:
        """Write at which recorded view the browser stands, and what the network says beside the picture."""
        self.stand.value = ELSEWHERE if row is None else f"view {self.session.views[row]}"
        lines = []
        if picture is not None and picture.shown != self.session.mode:
            lines.append("A reconstruction sees the truth: stand at a recorded view. This is a sample.\n")
        if picture is not None and picture.psnr is not None:
            lines.append(f"{picture.shown} against the truth: **{picture.psnr:.1f} dB**\n")
        if said:
            lines += ["| task | answer | truth |", "|---|---|---|"]
            # The page sets cells side by side without a gap.
            lines += [f"| {one.task}{GAP} | {one.text}{GAP} | {one.truth or '-'} |" for one in said]
        text = "\n".join(lines)
        if text != self.words.content:
            self.words.content = text
        if picture is not None and picture.truth is not None:
            self.pair.image = np.concatenate([enlarged(picture.truth), enlarged(picture.frame)], axis=1)
        self.pair.visible = picture is not None and picture.truth is not None


class Visitor:
    """A browser that looks at the page: its camera, and what it is shown."""

    def __init__(self, page: Page, client: Any) -> None:
        self.page, self.session, self.client = page, page.session, client
        self.changed = True
        self.frusta: list[tuple[Recorded, Any]] = []
        self.places: list[Any] = []

    @property
    def camera(self) -> NDArray[np.float64]:
        """The browser's camera as it would be recorded, (5,)."""
        camera = self.client.camera
        right, _, forward = extra("viser.transforms", "view").SO3(camera.wxyz).as_matrix().T
        return levelled(camera.position, forward, right)[0]

    @property
    def there(self) -> bool:
        """Whether the browser is still connected."""
        return self.client.client_id in self.page.server.get_clients()

    def show(self) -> None:
        """Show the recorded cameras of the visited scene."""
        with self.client.atomic():
            for _, frustum in self.frusta:
                frustum.remove()
            self.frusta = []
            for row, view in enumerate(self.session.recorded):
                frustum = self.client.scene.add_camera_frustum(
                    f"/view/{row}",
                    radians(self.session.field_of_view),
                    1.0,
                    scale=self._depth * np.cbrt(self._slope**2 / 3),  # viser's unit is one of volume
                    color=IN if view.chosen else OUT,
                    thickness=0.01 * self._depth,
                    image=view.frame,
                    wxyz=quaternion(view.camera),
                    position=view.camera[:3],
                )
                frustum.on_click(lambda _, v=view.number: self.page._change(lambda: self.session.toggle(v)))
                self.frusta.append((view, frustum))

    def mark(self) -> None:
        """Colour the cameras by whether they are in the context."""
        for (_, frustum), view in zip(self.frusta, self.session.recorded, strict=True):
            frustum.color = IN if view.chosen else OUT

    @property
    def _slope(self) -> float:
        return tan(radians(self.session.field_of_view) / 2)

    @property
    def _depth(self) -> float:
        """World units, from a recorded camera to its frame, which is as large for a narrow lens as for a wide one."""
        return min(0.045 / self._slope, 0.3) * self.session.extent

    def stand(self, row: int) -> None:
        """Bring the browser's camera to a recorded view."""
        recorded, client = self.session.recorded, self.client
        if not recorded:
            return
        camera = recorded[row].camera
        geometry = self.session.geometry
        forward = axes(camera)[0]
        away = self.session.extent
        if geometry is not None:  # the turning point is the middle of the world, where it is ahead
            ahead = float((np.asarray(geometry.cube_centre) - camera[:3]) @ forward)
            away = ahead if ahead > 0.1 * geometry.cube_radius else 0.5 * geometry.cube_radius
        with client.atomic():
            client.camera.fov = radians(self.session.field_of_view)
            client.camera.near = 1e-3 * away
            client.camera.up_direction = (0.0, 0.0, 1.0)
            client.camera.position = camera[:3]
            client.camera.look_at = camera[:3] + away * forward
        self.changed = True
        self.page._wake.set()

    def draw(self, *, moving: bool) -> None:
        """Draw what is imagined from the browser's camera, and what is answered."""
        session, camera = self.session, self.camera
        picture, said = session.picture(camera, moving=moving), session.answers(camera)
        if not self.there:
            return  # it left meanwhile
        if picture is not None:
            self.client.scene.set_background_image(
                beside(enlarged(picture.frame), self.client.camera.aspect), format="jpeg", jpeg_quality=92
            )
        shown = self.page.cameras.value
        with self.client.atomic():
            for view, frustum in self.frusta:
                # One that is stood in, or just before, would hide the picture by its own.
                frustum.visible = shown and bool(np.linalg.norm(view.camera[:3] - camera[:3]) > 1.5 * self._depth)
            self._place(said)
        self.page.tell(session.at(camera), picture, said)

    def _place(self, said: list[Said]) -> None:
        for handle in self.places:
            handle.remove()
        radius = 0.03 * self.session.extent
        found = [
            (f"/place/{kind}/{one.task}", place, colour)
            for one in said
            for kind, place, colour in (("said", one.place, SAID), ("true", one.true_place, TRUE))
            if place is not None
        ]
        self.places = [
            self.client.scene.add_icosphere(name, radius, color=colour, opacity=0.7, position=place)
            for name, place, colour in found
        ]
        self.places += [
            self.client.scene.add_line_segments(f"/arm/{kind}/{one.task}", bones, colour, line_width=4)
            for one in said
            for kind, bones, colour in (("said", one.bones, SAID), ("true", one.true_bones, TRUE))
            if bones is not None
        ]


def served(port: int) -> tuple[Any, str]:
    """Return viser's server of a page of this machine alone, and the page's address.

    Raises:
        Error: for a port that there is not.
        MissingExtra: where viser is not installed.
    """
    viser = extra("viser", "view")
    if not 0 < port < 65536:
        raise Error(f"port {port}: must be from 1 to 65535")
    server = viser.ViserServer(host=HOST, port=port, verbose=False, label="gqn")
    return server, f"http://{HOST}:{server.get_port()}"


def quaternion(camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orientation (w, x, y, z) of a recorded camera (5,), whose axes are right, down and forward."""
    forward, right, up = axes(camera)
    return extra("viser.transforms", "view").SO3.from_matrix(np.stack([right, -up, forward], axis=1)).wxyz


def enlarged(frame: Frame) -> Frame:
    """Return a frame with each pixel as a square, SIDE pixels or more a side."""
    times = -(-SIDE // len(frame))
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def beside(frame: Frame, aspect: float) -> Frame:
    """Return a frame in the middle of a window of that width over height, as high as the window."""
    height, width = frame.shape[:2]
    window = Image.new("RGB", (max(1, round(height * aspect)), height), ROOM)
    window.paste(Image.fromarray(frame), ((window.width - width) // 2, 0))
    return np.asarray(window)


@checked
def view(network: RecursiveGQN, scenes: Scenes | SceneDataset, *, port: int = 8080) -> Page:
    """Open a page on which one flies through what a trained network imagines; a notebook shows it.

    Args:
        network: a trained network.
        scenes: held-out scenes of its size, such as `SceneDataset(folder, "test")`; `LabelledScenes` with labels
            where answers are to be told from the truth.
        port: of the page on 127.0.0.1; where it is taken, the next one that is free.

    Returns:
        The page, whose `address` a browser opens, until its `close()`.

    Raises:
        Error: where the scenes do not fit the network.
        MissingExtra: where viser is not installed.
    """
    labelled = LabelledScenes(scenes) if isinstance(scenes, SceneDataset) else scenes
    geometry = None
    if isinstance(labelled, LabelledScenes):
        check_pixels(network, labelled.scenes, "the network")
        geometry = labelled.scenes.geometry
    return Page(Session(network.eval(), labelled, geometry), port)
