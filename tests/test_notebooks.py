"""The notebooks: each runs without the names of another, at small size, and none is committed with its outputs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import REPOSITORY
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.util import run_sync

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
TRAINING = {"STEPS": 2, "BATCH": 2, "TEST_SCENES": 2, "SCENES": 4, "WORKERS": 1}
# In place of what the cell with the tag `parameters` says.
SMALL: dict[str, dict[str, Any]] = {
    "1-first-look": {"SCENES": 2, "SAMPLES": 2, "FRAMES": 3},
    "2-scene-algebra": {"TRIALS": 1, "ANGLES": (0, 90), "SEED": 1},
    "3-train-your-own": {**TRAINING, "MINUTES": 1.0, "SIZE": 16},
    "4-second-layer": TRAINING,
    "5-own-images": {"SCENES": 4, "VIEWS": 8, "PIXELS": 16, "MINUTES": 1.0, "STEPS": 2, "EVALUATED": 1},
    "6-transfer": {"RESULTS": str(REPOSITORY / "results/transfer"), "LAYERS": ("layer-1",)},
}


def parameters(notebook: Any) -> Any:
    """Return the one cell that is tagged as that of the parameters."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    return cell


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsyncKernelManager]:
    """One for all of them: each would import PyTorch anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        manager = AsyncKernelManager(kernel_name="python3")
        run_sync(manager.start_kernel)()
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_a_notebook_runs(path: Path, tmp_path: Path, kernel: AsyncKernelManager) -> None:
    notebook = nbformat.read(path, as_version=4)
    cell = parameters(notebook)
    named = {name for names in re.findall(r"^([A-Z_, ]+) =", cell.source, re.M) for name in names.split(", ")}
    assert named == SMALL[path.stem].keys()
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in SMALL[path.stem].items())
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}"))
    client = NotebookClient(notebook, km=kernel, timeout=300)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any({"image/png", "image/svg+xml", "text/html", "text/markdown"} & output.data.keys() for output in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]
    assert "widgets" not in notebook.metadata
    assert len(notebook.cells) <= 16


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in NOTEBOOKS} == SMALL.keys()
