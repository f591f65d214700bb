"""The page in a browser: it loads without an error, a drag changes the picture, controls change what is said."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import World, three_layers
from viewer.conftest import SECONDS, Tab

import gqn
from gqn.core.camera import axes
from gqn.core.extras import MissingExtra
from gqn.viewer.page import Page, beside, quaternion, view
from gqn.viewer.session import WhatIf


@pytest.fixture
def page(scenes: Path) -> Iterator[Page]:
    pytest.importorskip("viser")
    torch.manual_seed(0)
    sizes = {"hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2, "shared_cores": True, "kernel": 3}
    network = gqn.GenerativeQueryNetwork(
        pixels=16,
        representation="volume",
        representation_channels=4,
        volume={"field_of_view": 20.0, "radius": 0.6, "side": 8},
        **sizes,
    )
    page = view(network, gqn.SceneDataset(scenes, "test"), port=8330)
    yield page
    page.close()


def test_cameras_are_turned_as_the_browser_has_them() -> None:
    pytest.importorskip("viser")
    from viser.transforms import SO3

    for camera in np.random.default_rng(0).uniform(-1.5, 1.5, (20, 5)):
        forward, right, up = axes(camera)
        matrix = SO3(quaternion(camera)).as_matrix()
        np.testing.assert_allclose(matrix, np.stack([right, -up, forward], axis=1), atol=1e-9)


def test_a_picture_lies_in_the_middle_of_the_window() -> None:
    frame = np.full((10, 10, 3), 200, np.uint8)
    wide, narrow = beside(frame, 2.0), beside(frame, 0.5)
    assert wide.shape == (10, 20, 3)
    assert (wide[:, 5:15] == 200).all()
    assert (wide[:, :5] != 200).all()
    assert narrow.shape == (10, 5, 3)
    assert (narrow == 200).all()


def test_without_viser_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, scenes: Path) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("gqn.core.extras.import_module", missing)
    network = gqn.GenerativeQueryNetwork(pixels=16, representation_channels=8, hidden=8, canvas=8, generation_steps=2)
    with pytest.raises(MissingExtra, match=r"viser is not installed: pip install 'gqn\[view\]'"):
        view(network, gqn.SceneDataset(scenes, "test"))


def test_scenes_of_another_size_are_refused(scenes: Path) -> None:
    network = gqn.GenerativeQueryNetwork(pixels=8, representation_channels=8, hidden=8, canvas=8, generation_steps=2)
    with pytest.raises(gqn.Error, match=f"trained on frames of 8 pixels, {scenes} has 16: name a dataset of that size"):
        view(network, gqn.SceneDataset(scenes, "test"))


def test_the_page_is_of_this_machine_alone(page: Page) -> None:
    assert page.address.startswith("http://127.0.0.1:")
    assert page.server.get_host() == "127.0.0.1"


def test_a_browser_flies(page: Page, tab: Tab) -> None:
    tab.open(page.address)
    tab.page.get_by_text("another sample").wait_for()
    tab.page.get_by_text("against the truth").wait_for()  # it begins at a recorded view
    (visitor,) = page.visitors.values()
    before, camera = tab.picture(), visitor.camera
    stood = tab.field("stand at").input_value()
    assert stood == f"view {page.session.views[page.session.at(camera)]}"
    mouse = tab.page.mouse
    mouse.move(150, 200)
    mouse.down()
    mouse.move(230, 230, steps=4)
    mouse.up()
    tab.page.get_by_text("against the truth").wait_for(state="detached")
    tab.until(lambda: tab.picture() != before)
    assert np.abs(visitor.camera - camera).max() > 0.01
    tab.until(lambda: tab.field("stand at").input_value() == "-")
    tab.field("stand at").click()
    tab.page.get_by_role("option", name=stood, exact=True).click()  # back to where it was
    tab.page.get_by_text("against the truth").wait_for()
    assert np.abs(visitor.camera - camera).max() < 0.01
    assert tab.field("stand at").input_value() == stood


def test_a_browser_that_leaves_while_its_picture_is_drawn_is_sent_none(
    page: Page, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab.open(page.address)
    tab.page.get_by_text("against the truth").wait_for()
    (visitor,) = page.visitors.values()
    drawing, left, sent = threading.Event(), threading.Event(), []
    draw = page.session.picture

    def slow(*args: Any, **kwargs: Any) -> Any:
        picture = draw(*args, **kwargs)
        sent.clear()  # of the picture before this one, which was being sent when the test began to listen
        drawing.set()
        left.wait(SECONDS)
        return picture

    monkeypatch.setattr(page.session, "picture", slow)
    monkeypatch.setattr(visitor.client.scene, "set_background_image", lambda *_, **__: sent.append(1))
    tab.press("another sample")
    assert drawing.wait(SECONDS)
    tab.page.goto("about:blank")
    tab.until(lambda: not page.server.get_clients())
    left.set()
    tab.until(lambda: not page.visitors)
    assert not sent


def test_a_picture_that_cannot_be_drawn_is_said_and_the_next_is_drawn(
    page: Page, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab.open(page.address)
    tab.page.get_by_text("against the truth").wait_for()
    with monkeypatch.context() as patch:

        def damaged(*_: Any, **__: Any) -> None:
            raise gqn.Error("scene 3 is damaged")

        patch.setattr(page.session, "picture", damaged)
        tab.press("another sample")
        tab.page.get_by_text("scene 3 is damaged").wait_for()
    tab.press("another sample")
    tab.page.get_by_text("against the truth").wait_for()


@pytest.fixture
def graph_page() -> Iterator[Page]:
    pytest.importorskip("viser")
    torch.manual_seed(0)
    graph = three_layers().eval()
    with torch.no_grad():
        for task in ("name", "reach"):
            for weight in graph.nodes[task].parameters():
                weight.mul_(4)  # so that what differs shows in the words
    page = view(graph, World(6), port=8330)
    yield page
    page.close()


def answers(tab: Tab) -> dict[str, str]:
    """Return the table of answers, by task."""
    rows = tab.page.locator("tr").filter(has=tab.page.locator("td")).all_inner_texts()
    return {row.split("\t")[0].strip(): row for row in rows}


def test_a_browser_asks_what_if_and_switches_senses_off(graph_page: Page, tab: Tab) -> None:
    session = graph_page.session
    tab.open(graph_page.address)
    tab.until(lambda: set(answers(tab)) == {"reach", "name"})
    tab.field("number").fill("1")
    tab.until(lambda: session.scene == 1 and f"{World(6).answer('name', 1):g}" in answers(tab)["name"])
    own = answers(tab)
    labels = tab.page.locator("label").all_inner_texts()
    assert {"touch", "touch: how many"} < set(labels)
    assert len(labels) == len(set(labels))

    tab.field("touch").click()
    tab.until(lambda: answers(tab)["name"] != own["name"])
    assert not session.senses["touch"]
    assert answers(tab)["reach"] == own["reach"]  # which reads vision alone
    tab.field("touch").click()
    tab.until(lambda: answers(tab) == own)

    tab.page.get_by_text("What if").click()
    tab.field("context of").fill("3")
    tab.until(lambda: answers(tab)["reach"] != own["reach"])
    assert session.what_if == WhatIf(context=3)
    other = answers(tab)
    tab.field("context of").fill("-1")
    tab.until(lambda: answers(tab) == own)
    tab.field("- scene").fill("1")
    tab.until(lambda: session.what_if == WhatIf(minus=1))
    tab.field("+ scene").fill("3")  # scene 1 - scene 1 + scene 3
    tab.until(lambda: answers(tab) == other)
