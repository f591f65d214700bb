"""The page on which a graph is edited: the library's drawing of it, whose boxes are clicked, and the edits beside it.

The drawing lies flat in viser's scene, an inch of it a unit; over each node's box lies a clear one that can be clicked.
"""

import textwrap
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from gqn.core.checked import checked
from gqn.core.errors import Error
from gqn.core.figure import Figure
from gqn.models import diagram
from gqn.models.graph import RecursiveGQN
from gqn.models.nodes import NETWORKS, WORDS, Kind
from gqn.viewer.editing import NEW, Editing
from gqn.viewer.page import served

EDITS = ("attach", "detach", "freeze", "unfreeze", "remove")
MOST_PIXELS = 2800  # of the longer side of the drawing, which a browser holds as a texture
CHOSEN = (40, 110, 220)  # colour over the chosen node
FIELD_OF_VIEW = 0.3  # radians: narrow, so that nothing seems to stand out of the page
SHEET = 1e3  # inches, of what is dragged
LETTERS = 52  # in a line of a refusal


class Editor:
    """A page on 127.0.0.1 on which a graph is edited, until `close`.

    Args:
        graph: a graph, which itself stays as it is.
        file: a name for the file, to begin with.
        port: of the page; another one near it where it is taken.

    Attributes:
        address: of the page.
        editing: the graph, and its edits.
        chosen: name of the node that is edited.
        refused: the node that the last edit was about and the line that refused it; None where it was made.

    Raises:
        MissingExtra: where viser is not installed.
    """

    def __init__(self, graph: RecursiveGQN, file: str = "graph.yaml", port: int = 8080) -> None:
        self.server, self.address = served(port)
        self.editing = Editing(graph)
        self.chosen = next(iter(self.editing.graph.spec), "")
        self.refused: tuple[str, str] | None = None
        self.lock = threading.RLock()  # over all of the above, which one thread at a time may use
        self._asked = ""  # "attach" or "detach", which the next click on a node completes
        self._told = ""
        self._size = 1.0, 1.0  # inches
        self._parts: list[Any] = []
        self.server.scene.set_up_direction("+y")
        self.server.gui.configure_theme(show_share_button=False)
        self.server.gui.main_panel.dock_right()
        sheet = self.server.scene.add_box("/sheet", dimensions=(SHEET, SHEET, 1e-3), position=(0, 0, 0.01), opacity=0.0)
        self._drags(sheet)
        self._controls(file)
        self._show()
        self.server.on_client_connect(self._welcome)

    @property
    def graph(self) -> RecursiveGQN:
        """The graph as it is now, untrained."""
        return RecursiveGQN.from_dict(self.editing.graph.to_dict())

    def close(self) -> None:
        """Take the page down."""
        self.server.stop()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the page in a frame."""
        return f'<iframe src="{self.address}" width="100%" height="640" style="border: 0"></iframe>'

    # Controls

    def _controls(self, file: str) -> None:
        gui = self.server.gui
        self.words = gui.add_markdown("")
        with gui.add_folder("Node"):
            self.node = gui.add_dropdown("node", ("-",), hint="Click it in the drawing, or choose it here")
            edits = gui.add_button_group("edit", EDITS)
            self.name = gui.add_text("name", "")
            rename = gui.add_button("rename")
            self.description = gui.add_text("as in the file", "", multiline=True)
            replace = gui.add_button("replace", hint="Give the node this description")
        with gui.add_folder("New node"):
            self.kind = gui.add_dropdown("kind", tuple(NEW))
            self.new_name = gui.add_text("name", "")
            self.new_description = gui.add_text("as in the file", "", multiline=True)
            add = gui.add_button("add")
            self.networks = gui.add_markdown("")
        with gui.add_folder("Graph"):
            self.beside = gui.add_checkbox("before", False, hint="Draw the graph as it was opened over what it is now")
            undo = gui.add_button("undo")
            self.file = gui.add_text("file", file)
            save = gui.add_button("save")

        self.node.on_update(lambda event: self._by_hand(event, lambda: self.click(self.node.value)))
        edits.on_click(lambda _: self.ask(edits.value))
        rename.on_click(lambda _: self._edit(lambda graph: graph.rename(self.chosen, self.name.value), self.name.value))
        replace.on_click(lambda _: self._do(lambda: self.editing.replace(self.chosen, self.description.value)))
        self.kind.on_update(lambda event: self._by_hand(event, lambda: self._do(lambda: None)))
        add.on_click(lambda _: self._add())
        self.beside.on_update(lambda _: self._do(lambda: None))
        undo.on_click(lambda _: self._do(self.editing.undo))
        save.on_click(lambda _: self._save())

    def _by_hand(self, event: Any, action: Callable[[], None]) -> None:
        """Do something where a browser set a control, and not the page itself."""
        if event.client is not None:
            action()

    def click(self, name: str) -> None:
        """Choose a node, or attach the chosen one to it or detach it from it where that was asked before."""
        with self.lock:
            asked, self._asked = self._asked, ""
            if asked:
                self._edit(lambda graph: getattr(graph, asked)(self.chosen, name))
            else:
                self.chosen = name
                self._do(lambda: None)

    def ask(self, edit: str) -> None:
        """Make one of `EDITS` of the chosen node; attach and detach wait for a click on another."""
        with self.lock:
            if edit in ("attach", "detach"):
                self._do(lambda: None)
                self._asked = edit
                self._say()
            else:
                self._edit(lambda graph: getattr(graph, edit)(self.chosen))

    def _edit(self, change: Callable[[RecursiveGQN], object], chosen: str = "") -> None:
        self._do(lambda: self.editing.edit(change), chosen)

    def _add(self) -> None:
        name = self.new_name.value
        self._do(lambda: self.editing.add(self.kind.value, name, self.new_description.value), name)

    def _save(self) -> None:
        def save() -> None:
            path = self.editing.save(self.file.value)
            self._told = f"saved: `python run-gqn.py --graph {path}`"

        self._do(save)

    def _do(self, action: Callable[[], object], chosen: str = "") -> None:
        """Do something, choose another node where it went well, and show what there is then."""
        with self.lock:
            self._asked = self._told = ""
            self.refused = None
            try:
                action()
                self.chosen = chosen or self.chosen
            except Error as error:
                self.refused = self.chosen, str(error)
            self._show()

    # What is shown

    def _show(self) -> None:
        graph = self.editing.graph
        if self.chosen not in graph.spec:
            self.chosen = next(iter(graph.spec), "")
        with self.server.atomic():
            self._say()
            self.node.options = tuple(graph.spec) or ("-",)
            if self.refused is None:  # else what was typed stays, to be mended
                self.node.value = self.chosen or "-"
                self.name.value = self.chosen
                self.description.value = self.editing.description(self.chosen) if self.chosen else ""
                kind: Kind = self.kind.value
                self.new_name.value, self.new_description.value = self.editing.suggested(kind, self.chosen)
                self.networks.content = f"{WORDS[kind]}s: {', '.join(NETWORKS[kind])}"
            self._draw()

    def _say(self) -> None:
        if self.refused:
            text = self.refused[1]
        elif self._asked:
            how = "to read too" if self._asked == "attach" else "no longer to read"
            text = f"click the node that '{self.chosen}' is {how}"
        else:
            line = self.editing.unfinished()
            text = self._told or (f"to be trained it lacks something: {line}" if line else "click a node")
        self.words.content = text

    def _draw(self) -> None:
        graph = self.editing.graph.describe()
        marks = self.editing.marks()
        figure = diagram.change(self.editing.opened, graph) if self.beside.value else diagram.draw(graph, marks=marks)
        size = figure.get_size_inches()
        width, height = float(size[0]), float(size[1])
        down = diagram.size(self.editing.opened)[1] if self.beside.value else 0.0
        for part in self._parts:
            part.remove()
        scene = self.server.scene

        def picture(name: str, figure: Figure, position: tuple[float, float, float]) -> Any:
            inches = map(float, figure.get_size_inches())
            # Turned by half a turn, since viser's images have their second axis down.
            return scene.add_image(name, pixels(figure), *inches, format="png", wxyz=(0, 1, 0, 0), position=position)

        self._parts = [picture("/drawing", figure, (0, 0, 0))]
        for name, box in diagram.boxes(graph).items():
            x, y = box.left + box.width / 2 - width / 2, height / 2 - down - box.top - box.height / 2
            clear = scene.add_box(
                f"/node/{len(self._parts)}",
                color=CHOSEN,
                dimensions=(box.width, box.height, 1e-3),
                position=(x, y, 0.02),
                opacity=0.15 if name == self.chosen else 0.0,
            )
            clear.on_click(lambda _, n=name: self.click(n))
            self._drags(clear)
            self._parts.append(clear)
            if self.refused and name == self.refused[0]:
                line = note(self.refused[1])
                across, high = map(float, line.get_size_inches())
                corner = x + (across - box.width) / 2, y - (box.height + high) / 2 - 0.05, 0.03
                self._parts.append(picture("/refused", line, corner))
        if (width, height) != self._size:
            self._size = width, height
            for client in self.server.get_clients().values():
                self._fit(client)

    def _welcome(self, client: Any) -> None:
        seen = 0.0

        def fit(camera: Any) -> None:
            nonlocal seen
            if abs(camera.aspect - seen) > 1e-3:  # at first, and where the window or the panel has another width
                seen = camera.aspect
                self._fit(client)

        client.camera.on_update(fit)
        fit(client.camera)

    def _fit(self, client: Any) -> None:
        """Bring a browser's camera before the drawing, such that it fills the window."""
        width, height = self._size
        away = 1.04 * max(height, width / client.camera.aspect) / 2 / np.tan(FIELD_OF_VIEW / 2)
        with client.atomic():
            client.camera.fov = FIELD_OF_VIEW
            client.camera.near = 0.02 * away  # tells apart what lies a hundredth of an inch apart
            client.camera.up_direction = (0.0, 1.0, 0.0)
            client.camera.position = (0.0, 0.0, away)
            client.camera.look_at = (0.0, 0.0, 0.0)

    def _drags(self, part: Any) -> None:
        """Let a drag move the page under the camera, which would turn about it else."""
        held: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

        async def drag(event: Any) -> None:  # which viser calls in order, as it does no plain function
            camera, screen = event.client.camera, np.asarray(event.end_screen_pos)
            if event.phase == "start" or event.client_id not in held:
                held[event.client_id] = camera.position, screen
                return
            position, before = held[event.client_id]
            seen = 2 * position[2] * np.tan(camera.fov / 2)  # inches from the window's top to its bottom
            x, y = (screen - before) * seen * np.array([-camera.aspect, 1.0])
            with event.client.atomic():
                camera.position = position + np.array([x, y, 0.0])
                camera.look_at = (*camera.position[:2], 0.0)
            if event.phase == "end":
                del held[event.client_id]

        part.on_drag("left")(drag)


def note(line: str) -> Figure:
    """Return a refusal as a figure, to be laid under a node's box."""
    lines = textwrap.wrap(line, LETTERS)
    width, height = 0.2 + 0.055 * max(map(len, lines)), 0.14 * len(lines) + 0.16
    figure = Figure(figsize=(width, height), layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    red = diagram.MARKS["removed"]
    axes.add_patch(
        FancyBboxPatch((0.03, 0.03), width - 0.06, height - 0.06, "round,pad=0,rounding_size=0.04", fc="white", ec=red)
    )
    axes.text(0.12, height / 2, "\n".join(lines), fontsize=7, color=red, va="center")
    return figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an image (h, w, 3)."""
    figure.set_dpi(min(200.0, MOST_PIXELS / max(figure.get_size_inches())))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@checked
def edit(graph: RecursiveGQN, *, file: str = "graph.yaml", port: int = 8080) -> Editor:
    """Open a page on which a graph is edited; a notebook shows it.

    Args:
        graph: a graph, which itself stays as it is.
        file: a name for the file that the page writes when it is asked to.
        port: of the page on 127.0.0.1; where it is taken, the next one that is free.

    Returns:
        The page, whose `address` a browser opens, until its `close()`; its `graph` is the graph as it is then.

    Raises:
        MissingExtra: where viser is not installed.
    """
    return Editor(graph, file, port)
