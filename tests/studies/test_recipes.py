"""The study of recipes: equal time, runs that go on, figures from the results alone."""

import json
from pathlib import Path

import pytest
import yaml

from gqn.studies.recipes import Cell, Experiment, Recipes, minutes_to_context
from gqn.studies.runner import StudyError, make, read_experiment, read_results
from gqn.training.config import PRESETS

TINY = {"representation_channels": 8, "side": 8, "hidden": 8, "canvas": 8, "latent": 2, "generation_steps": 2}
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
SECONDS = {"one": 1.5, "other, longer": 3.0}


def study(
    folder: Path, data: Path | None = None, seconds: dict[str, float] = SECONDS, name: str = "study", **changes: object
) -> Recipes:
    path = folder / f"{name}.yaml"
    content = {"minutes": 0.1, "every_minutes": 0.05, "seeds": [0, 1], "recipes": RECIPES, "evaluation": EVALUATION}
    path.write_text(yaml.safe_dump({**content, **changes}))
    path.with_suffix(".seconds.json").write_text(json.dumps({"seconds_a_step": seconds}))
    return Recipes(path, data, folder / "work")


def test_a_study_is_made_run_by_run_and_told_from_its_results(scenes: Path, tmp_path: Path) -> None:
    recipes = study(tmp_path, scenes)
    chosen, results = recipes.chosen(), recipes.results
    assert chosen == [Cell("one", 0), Cell("other, longer", 0), Cell("one", 1), Cell("other, longer", 1)]
    first = next(make(recipes, chosen))
    assert (first["cell"]["recipe"], first["steps"]) == ("one", 4)  # as many as fit in its minutes
    assert [point["minutes"] for point in first["history"]] == [0.05, 0.1]
    made = list(make(recipes, chosen))
    assert [(line["cell"]["recipe"], line["steps"]) for line in made] == [
        ("other, longer", 4),
        ("one", 4),
        ("other, longer", 4),
    ]
    assert made[1]["history"] != first["history"]  # another seed
    # A run whose line was lost is not made again.
    lines = results.read_text().splitlines()
    results.write_text("".join(line + "\n" for line in lines[1:]))
    (again,) = make(recipes, chosen)
    assert {**again, "about": first["about"]} == first
    known = read_results(recipes)
    known[Cell("one", 1)]["history"].pop()  # as of a run that was stopped and went on in another rhythm
    assert len(recipes.figure(known).axes[0].get_lines()) == 5  # four runs and the mean image


def test_the_report_tells_the_last_evaluations(tmp_path: Path) -> None:
    recipes = study(tmp_path)

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
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in recipes.table(known).splitlines()]
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
    recipes = study(tmp_path, scenes)
    list(make(recipes, [Cell("one", 0)]))
    assert Cell("one", 0) in read_results(recipes)
    changed = {"one": {**RECIPES["one"], "training": {"batch": 4, "learning_rate": 1e-4}}}
    with pytest.raises(StudyError, match="one, seed 0 was made with another training learning_rate: remove its"):
        read_results(study(tmp_path, recipes=changed))
    with pytest.raises(StudyError, match="another evaluation samples"):
        read_results(study(tmp_path, evaluation={"eval_scenes": 4, "samples": 1}))
    with pytest.raises(StudyError, match="another dataset"):
        read_results(study(tmp_path, tmp_path / "other-scenes"))
    # Begun with other options, a run does not go on; it begins anew.
    other = study(tmp_path, scenes, name="other", recipes=changed)
    other.work = recipes.work
    (line,) = make(other, [Cell("one", 0)])
    assert line["history"] != read_results(study(tmp_path))[Cell("one", 0)]["history"]


def test_a_step_is_timed_for_every_recipe(scenes: Path, tmp_path: Path) -> None:
    recipes = study(tmp_path, scenes, seconds={})
    times = recipes.measure()
    assert times.keys() == RECIPES.keys()
    assert all(0 < seconds < 10 for seconds in times.values())
    assert Recipes(recipes.file).seconds == times


def test_recipes_are_differences_from_presets(tmp_path: Path) -> None:
    config = study(tmp_path).plan.configuration("other, longer")
    assert not config.model.normalise
    assert config.training.learning_rate == PRESETS["quick"].training.learning_rate
    assert config.evaluation.samples == 2


def test_the_context_counts_as_used_from_where_it_stays_used() -> None:
    def line(*gains: float) -> dict:
        return {"history": [{"minutes": float(n), "context_gain_db": gain} for n, gain in enumerate(gains, start=1)]}

    assert minutes_to_context(line(0.2, 1.0, 1.5)) == 2
    assert minutes_to_context(line(1.2, 0.9, 1.5)) == 3
    assert minutes_to_context(line(1.2, 0.9)) is None


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"bad": {"preset": "quick", "model": {"hiden": 3}}}, r"recipe 'bad': .*hiden"),
        ({"bad": {}}, "recipe 'bad': preset None: there are quick"),
        ({"bad": {"preset": "quick", "evaluation": {"samples": 3}}}, "evaluation is the study's"),
        ({"a, b": {"preset": "quick"}, "a b": {"preset": "small"}}, "recipes 'a b' and 'a, b' would share a folder"),
    ],
)
def test_what_is_wrong_with_a_study_is_named(recipes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=f"study.yaml: no experiment: .*{message}"):
        study(tmp_path, recipes=recipes).chosen()


def test_what_a_run_lacks_is_named(scenes: Path, tmp_path: Path) -> None:
    for recipes, message in (
        (study(tmp_path, scenes, seconds={}, name="untimed"), "'one' were never timed: run with --measure"),
        (study(tmp_path, scenes, seconds={"one": 100.0}, name="slow"), "steps of 100 s are too long"),
        (study(tmp_path), "runs need a dataset: name it by --data"),
    ):
        with pytest.raises(StudyError, match=message):
            next(make(recipes, recipes.chosen()))


def test_shipped_times_are_those_of_every_recipe() -> None:
    files = list((Path(__file__).resolve().parents[2] / "results/recipes").glob("*.yaml"))
    assert len(files) > 1
    for path in files:
        assert Recipes(path).seconds.keys() >= read_experiment(path, Experiment).recipes.keys()
