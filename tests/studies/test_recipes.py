"""The study of recipes: equal time, runs that go on, figures from the results alone."""

import json
from pathlib import Path

import pytest
import yaml

from gqn.studies.recipes import (
    Cell,
    RecipeError,
    cells,
    configuration,
    curves,
    make,
    minutes_to_context,
    read_results,
    read_study,
    report,
    step_seconds,
)
from gqn.training.config import PRESETS

TINY = {"representation_channels": 8, "hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2}
RECIPES = {
    "one": {"preset": "quick", "model": TINY, "training": {"batch": 4}},
    "other, longer": {
        "preset": "quick",
        "minutes": 0.2,
        "model": {**TINY, "normalise": False},
        "training": {"batch": 4},
    },
}
EVALUATION = {"eval_scenes": 4, "samples": 2}


def study_file(folder: Path, **changes: object) -> Path:
    path = folder / "study.yaml"
    content = {"minutes": 0.1, "every_minutes": 0.05, "seeds": [0, 1], "recipes": RECIPES, "evaluation": EVALUATION}
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_a_study_is_made_run_by_run_and_told_from_its_results(scenes: Path, tmp_path: Path) -> None:
    study, results = read_study(study_file(tmp_path)), tmp_path / "study.jsonl"
    seconds = {"one": 1.5, "other, longer": 3.0}
    chosen = cells(study)
    assert chosen == [Cell("one", 0), Cell("other, longer", 0), Cell("one", 1), Cell("other, longer", 1)]
    first = next(make(study, chosen, seconds, scenes, tmp_path / "work", results))
    assert (first["recipe"], first["steps"]) == ("one", 4)  # as many as fit in its minutes
    assert [point["minutes"] for point in first["history"]] == [0.05, 0.1]
    made = list(make(study, chosen, seconds, scenes, tmp_path / "work", results))
    assert [(line["recipe"], line["steps"]) for line in made] == [
        ("other, longer", 4),
        ("one", 4),
        ("other, longer", 4),
    ]
    assert made[1]["history"] != first["history"]  # another seed
    assert not list(make(study, chosen, seconds, scenes, tmp_path / "work", results))
    # A run whose line was lost is not made again.
    lines = results.read_text().splitlines()
    results.write_text("".join(line + "\n" for line in lines[1:]))
    (again,) = make(study, chosen, seconds, scenes, tmp_path / "work", results)
    assert json.dumps(again) == lines[0]
    known = read_results(results, study)
    known[Cell("one", 1)]["history"].pop()  # as of a run that was stopped and went on in another rhythm
    assert len(curves(study, known).axes[0].get_lines()) == 5  # four runs and the mean image


def test_the_report_tells_the_last_evaluations(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path))

    def line(*gains: float, prior: float) -> dict:
        reports = [
            {
                "minutes": float(minute),
                "context_gain_db": gain,
                "prior_sample": prior,
                "mean_image": 18.0,
                "negative_elbo_above_floor": 30.0,
                "sigma": 0.5,
            }
            for minute, gain in enumerate(gains, start=1)
        ]
        return {"parameters": 1_500_000, "seconds_a_step": 1.5, "steps": 4, "history": reports}

    known = {Cell("one", 0): line(0.5, 1.5, 2.0, prior=20.0), Cell("one", 1): line(0.0, 0.5, 1.0, prior=17.0)}
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in report(study, known).splitlines()]
    assert len(rows) == 3  # nothing is told of a recipe without runs
    assert dict(zip(rows[0], rows[2], strict=True)) == {
        "recipe": "one",
        "minutes": "0.1",
        "seeds": "2",
        "weights": "1.5 M",
        "a step": "1.50 s",
        "steps": "4",
        "context gain (dB)": "1.50 (1.00 to 2.00)",
        "prior sample (dB)": "18.50 (17.00 to 20.00)",
        "above the mean image (dB)": "0.50 (-1.00 to 2.00)",
        "-ELBO over its floor (nats), at sigma": "30 at 0.50",
        "minutes to a gain of 1 dB": "2, 3",
    }


def test_runs_of_another_configuration_are_refused(scenes: Path, tmp_path: Path) -> None:
    study, results, work = read_study(study_file(tmp_path)), tmp_path / "study.jsonl", tmp_path / "work"
    list(make(study, [Cell("one", 0)], {"one": 1.5}, scenes, work, results))
    assert Cell("one", 0) in read_results(results, study)
    changed = {"one": {**RECIPES["one"], "training": {"batch": 4, "learning_rate": 1e-4}}}
    study = read_study(study_file(tmp_path, recipes=changed))
    with pytest.raises(RecipeError, match="'one', seed 0 was made with another training learning_rate: remove its"):
        read_results(results, study)
    with pytest.raises(RecipeError, match="one-0 holds a run with another training learning_rate: remove it"):
        next(make(study, [Cell("one", 0)], {"one": 1.5}, scenes, work, tmp_path / "other.jsonl"))


def test_a_step_is_timed_for_every_recipe(scenes: Path, tmp_path: Path) -> None:
    times = step_seconds(read_study(study_file(tmp_path)), scenes, tmp_path / "work")
    assert times.keys() == RECIPES.keys()
    assert all(0 < seconds < 10 for seconds in times.values())


def test_recipes_are_differences_from_presets(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path))
    config = configuration(study, "other, longer")
    assert not config.model.normalise
    assert config.training.learning_rate == PRESETS["quick"].training.learning_rate
    assert config.evaluation.samples == 2


def test_the_context_counts_as_used_from_where_it_stays_used() -> None:
    def line(*gains: float) -> dict:
        return {"history": [{"minutes": float(n), "context_gain_db": gain} for n, gain in enumerate(gains, start=1)]}

    assert minutes_to_context(line(0.2, 1.0, 1.5)) == 2
    assert minutes_to_context(line(1.2, 0.9, 1.5)) == 3
    assert minutes_to_context(line(1.2, 0.9)) is None


def test_what_is_wrong_with_a_study_is_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe 'bad': .*hiden"):
        read_study(study_file(tmp_path, recipes={"bad": {"preset": "quick", "model": {"hiden": 3}}}))
    with pytest.raises(RecipeError, match="recipe 'bad': preset None: there are quick"):
        read_study(study_file(tmp_path, recipes={"bad": {}}))
    with pytest.raises(RecipeError, match="no study of recipes"):
        read_study(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="evaluation is the study's"):
        read_study(study_file(tmp_path, recipes={"bad": {"preset": "quick", "evaluation": {"samples": 3}}}))
    with pytest.raises(RecipeError, match="recipes 'a b' and 'a, b' would share a folder"):
        read_study(study_file(tmp_path, recipes={"a, b": {"preset": "quick"}, "a b": {"preset": "small"}}))
    study = read_study(study_file(tmp_path))
    with pytest.raises(RecipeError, match="'one' were never timed: run with --measure"):
        next(make(study, cells(study), {}, scenes, tmp_path / "work", tmp_path / "r.jsonl"))
    with pytest.raises(RecipeError, match="steps of 100 s are too long"):
        next(make(study, cells(study), {"one": 100.0}, scenes, tmp_path / "work", tmp_path / "r.jsonl"))


def test_shipped_studies_can_be_read() -> None:
    folder = Path(__file__).resolve().parents[2] / "diagrams" / "recipes"
    assert len(list(folder.glob("*.yaml"))) > 1
    for path in folder.glob("*.yaml"):
        study = read_study(path)
        times = json.loads(path.with_suffix(".seconds.json").read_text())["seconds_a_step"]
        assert times.keys() >= study.recipes.keys()
        assert read_results(path.with_suffix(".jsonl"), study).keys() <= set(cells(study))
