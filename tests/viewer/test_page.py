"""The page in a browser: it loads without an error, a drag changes the picture, a click the context."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import gqn
from gqn.core.camera import axes
from gqn.core.extras import MissingExtra
from gqn.viewer.page import Page, beside, quaternion, view

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Linear algebra on one thread of the browser's CPU in place of a graphics card.
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SECONDS = 60  # that a busy machine may take for each answer of the browser


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


def test_a_browser_flies(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 700, "height": 400})
        tab.set_default_timeout(1000 * SECONDS)
        wrong: list[str] = []
        tab.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(page.address)
        tab.get_by_text("another sample").wait_for()
        tab.get_by_text("against the truth").wait_for()  # it begins at a recorded view
        (visitor,) = page.visitors.values()
        before, camera = picture(tab), visitor.camera
        tab.mouse.move(150, 200)
        tab.mouse.down()
        tab.mouse.move(230, 230, steps=4)
        tab.mouse.up()
        tab.get_by_text("against the truth").wait_for(state="detached")
        tab.wait_for_timeout(1000)
        after = picture(tab)
        assert np.abs(visitor.camera - camera).max() > 0.01
        assert before != after
        browser.close()
    assert not wrong


def picture(tab: object) -> bytes:
    """Return what the canvas shows."""
    return tab.screenshot(clip={"x": 0, "y": 0, "width": 350, "height": 400})
