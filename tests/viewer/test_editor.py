"""The editor's page in a browser: clicks on nodes, edits, refusals, undo and a saved file."""

from collections.abc import Callable, Iterator
from math import tan
from pathlib import Path

import numpy as np
import pytest
from graphs import three_layers
from viewer.conftest import Tab

import gqn
from gqn.models import diagram
from gqn.viewer.editor import Editor, note, pixels

PATIENCE = 5  # seconds, after which a click is taken for one beside the node


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Editor]:
    pytest.importorskip("viser")
    monkeypatch.setattr("gqn.viewer.editor.MOST_PIXELS", 400)  # of the drawing, which is made and sent at each edit
    page = gqn.edit(three_layers(), port=8340)
    yield page
    page.close()


def click(tab: Tab, page: Editor, name: str, done: Callable[[], bool], first: Callable[[], None] | None = None) -> None:
    """Click a node where it stands, after something else, until it is done: the browser moves its camera with a delay.

    A busy page answers late, so that a click that went beside the node is told from one on its way by patience alone.
    """
    graph = page.editing.graph.describe()
    (width, height), box = diagram.size(graph), diagram.boxes(graph)[name]
    x, y = box.left + box.width / 2 - width / 2, box.top + box.height / 2 - height / 2
    canvas = tab.page.locator("canvas").first.bounding_box()

    def clicked() -> bool:
        (camera,) = (client.camera for client in page.server.get_clients().values())
        pixels = canvas["height"] / (2 * camera.position[2] * tan(camera.fov / 2))
        if first is not None:
            first()
        tab.page.mouse.click(
            canvas["x"] + canvas["width"] / 2 + pixels * x, canvas["y"] + canvas["height"] / 2 + pixels * y
        )
        return tab.comes(done, PATIENCE)

    tab.until(lambda: done() or clicked())


def choose(tab: Tab, page: Editor, name: str) -> None:
    click(tab, page, name, lambda: page.chosen == name)


def test_a_graph_is_edited_by_clicks(page: Editor, tab: Tab, tmp_path: Path) -> None:
    opened = page.editing.graph.to_dict()
    tab.open(page.address)
    tab.page.get_by_text("click a node").wait_for()
    tab.until(page.server.get_clients)
    choose(tab, page, "arm")
    tab.until(lambda: tab.page.locator("textarea").first.input_value().startswith("inputs: [vision]"))

    before = tab.picture()
    tab.press("add")
    tab.until(lambda: page.chosen == "task-1")
    assert page.editing.graph.spec["task-1"].inputs == ("arm",)
    tab.until(lambda: tab.picture() != before)

    choose(tab, page, "arm")
    tab.press("remove")
    tab.page.get_by_text("'both' needs 'arm': remove it too, or detach it first").wait_for()
    assert page.refused == ("arm", "'both' needs 'arm': remove it too, or detach it first")

    def ask() -> None:
        waits = tab.page.get_by_text("click the node that 'arm' is to read too")
        if not waits.is_visible():  # an earlier click on another node may have come late
            tab.press("attach")
            waits.wait_for()

    click(tab, page, "touch", lambda: page.editing.graph.spec["arm"].inputs == ("vision", "touch"), ask)
    tab.press("undo")
    tab.until(lambda: page.editing.graph.spec["arm"].inputs == ("vision",))

    tab.press("freeze")
    tab.until(lambda: page.editing.graph.spec["arm"].frozen)
    tab.field("file").fill(str(tmp_path / "graph.yaml"))
    tab.press("save")
    tab.page.get_by_text("run-gqn.py --graph").wait_for()
    saved = gqn.RecursiveGQN.from_file(tmp_path / "graph.yaml")
    assert saved.to_dict() == page.graph.to_dict()
    assert not any(p.requires_grad for p in saved.nodes["arm"].parameters())

    for _ in range(2):
        tab.press("undo")
    tab.until(lambda: page.editing.graph.to_dict() == opened)
    tab.press("undo")
    tab.page.get_by_text("there is nothing to take back").wait_for()


def test_the_page_is_of_this_machine_alone(page: Editor) -> None:
    assert page.address.startswith("http://127.0.0.1:")
    assert page.server.get_host() == "127.0.0.1"


def test_the_last_node_can_be_removed(page: Editor) -> None:
    page.editing.edit(lambda graph: graph.remove(*[name for name in graph.spec if name != "vision"]))
    page.click("vision")
    page.ask("remove")
    assert page.refused is None
    assert page.chosen == ""
    page.ask("freeze")
    page.click("-")
    page.kind.value = "sense"
    page.click("-")
    page._add()
    assert page.chosen == "sense-1"


def test_a_refusal_is_written_whole() -> None:
    figure = note("word " * 40)
    image = pixels(figure)
    assert image.shape[2] == 3
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (edge > 200).all()  # nothing is cut off
