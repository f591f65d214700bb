"""The tables in results/ are what the studies make of the lines beside them."""

from pathlib import Path

import pytest

from gqn.studies.agent.protocol import Agents, Clones
from gqn.studies.recipes import Recipes
from gqn.studies.runner import Study, read_results
from gqn.studies.transfer.protocol import Transfer
from gqn.studies.two_senses import TwoSenses

RESULTS = Path(__file__).resolve().parents[2] / "results"
STUDIES: list[Study] = [
    *(Recipes(file) for file in sorted((RESULTS / "recipes").glob("*.yaml"))),
    *(Transfer(file) for file in sorted((RESULTS / "transfer").glob("*.yaml"))),
    Agents(RESULTS / "transfer/reach-gate.jsonl", ("state",)),
    Clones(
        RESULTS / "transfer/reach-clones.jsonl",
        ("state", "joints", "pixels", "random", "layer-1", "layer-2"),
        ("fixed", "moving"),
        layer_1="results/transfer/reach-layer-1",
        layer_2="results/transfer/reach-layer-2",
    ),
    TwoSenses(Path(), RESULTS / "two-senses/two-senses.jsonl"),
]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.results.stem)
def test_a_table_is_what_the_lines_give(study: Study) -> None:
    known = read_results(study)
    assert len(known) == len(study.results.read_text().splitlines())
    assert study.table(known) == study.results.with_suffix(".md").read_text()


def test_every_file_of_lines_is_read() -> None:
    assert {study.results for study in STUDIES} == set(RESULTS.rglob("*.jsonl"))
