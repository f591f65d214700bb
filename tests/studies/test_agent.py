"""Properties of the reaching world and of agents in it, and how a frozen representation is observed."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import run_script
from gymnasium.utils.env_checker import check_env
from matplotlib import image
from PIL import Image

from gqn.core.camera import camera_vector
from gqn.core.errors import Error
from gqn.core.files import read_json_lines
from gqn.core.views import Views
from gqn.data.convert import convert
from gqn.data.dataset import SceneDataset
from gqn.data.generate import generate
from gqn.data.labels import scene_labels
from gqn.scenes.jaco import Jaco, may_hold_target
from gqn.scenes.reaching import FAMILY, LARGEST, Reaching
from gqn.studies.agent import EPISODE, REACH, cloning, observers, protocol
from gqn.studies.agent.cloning import Clone, Cloning, clone_agent
from gqn.studies.agent.environment import CLIP, FILMED, NEAR, Features, evaluate, gymnasium
from gqn.studies.agent.learner import Learning, train_agent
from gqn.studies.agent.observers import VISION, untrained
from gqn.studies.agent.protocol import Agents, Cell, Clones
from gqn.studies.runner import make, read_results

TINY = {**VISION, "channels": 4}
MODES = ("state", "joints", "pixels", "pixels+joints")
BRIEF = Learning(steps=20, eval_every=10, episodes=1, warm_up=8, updates=1, batch=4, hidden=16)
BRIEF_CLONING = Cloning(episodes=(1, 2), held_out=1, updates=3, batch=4, hidden=16)


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "Features", partial(Features, looks=3))


def started(seed: int) -> Reaching:
    world = Reaching()
    world.begin(np.random.default_rng(seed))
    return world


def test_the_same_seed_gives_the_same_episode_and_another_seed_another() -> None:
    first, again, other = started(1), started(1), started(2)
    np.testing.assert_array_equal(first.joints, again.joints)
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.frame(first.camera), again.frame(again.camera))
    assert not np.allclose(first.joints, other.joints)
    assert not np.allclose(first.target, other.target)


def test_worlds_do_not_share_their_pose() -> None:
    first = started(1)
    before = first.joints, first.target, first.distance
    second = started(2)
    second.move([1, 1, 1])
    np.testing.assert_array_equal(first.joints, before[0])
    np.testing.assert_array_equal(first.target, before[1])
    assert first.distance == before[2]


def test_a_frame_is_that_of_the_family_for_the_same_pose_and_target() -> None:
    world = started(0)
    for seed in range(3):
        random = np.random.default_rng(seed)
        scene = FAMILY.scene(random)
        setting = FAMILY.setting(np.random.default_rng(seed))
        world.arm.data.mocap_pos[0] = scene.labels["objects"][0]["position"]
        world.arm.pose(scene.labels["joints"])
        world.world.colours[:] = setting.world.colours
        np.testing.assert_array_equal(world.frame(setting.cameras[0]), scene.frames[0])


def test_an_episode_begins_free_with_a_target_in_reach() -> None:
    for seed in range(10):
        world = started(seed)
        assert may_hold_target(world.target)
        assert not world.arm.touches()
        assert world.distance > NEAR / 2
        np.testing.assert_allclose(world.world.colours, world.world.colours.clip(0, 1))


def test_a_move_turns_the_joints_and_the_hand_by_kinematics() -> None:
    world = started(3)
    before, joints = world.arm.hand, world.joints
    world.move([0.5, 0, 0])
    np.testing.assert_allclose(world.joints - joints, [0.5 * LARGEST, 0, 0], atol=1e-12)
    angle = np.arctan2(*world.arm.hand[1::-1]) - np.arctan2(*before[1::-1])
    # The first joint stands upright and turns downwards: the hand goes round the axis of the base, at its height.
    assert (angle + np.pi) % (2 * np.pi) - np.pi == pytest.approx(-0.5 * LARGEST)
    assert np.hypot(*world.arm.hand[:2]) == pytest.approx(np.hypot(*before[:2]))
    assert world.arm.hand[2] == pytest.approx(before[2])


def test_a_move_keeps_to_the_limits_and_touches_neither_floor_nor_arm() -> None:
    world = started(4)
    ball = world.arm.model.geom("target").id
    for direction in ([0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [1, 9, -9]):
        for _ in range(25):
            before = world.joints
            world.move(direction)
            assert not world.arm.touches(but=[ball])
            assert (np.abs(world.joints - before) <= LARGEST + 1e-12).all()
        low, high = world.arm.limits[1:3].T
        assert ((low <= world.joints[1:]) & (world.joints[1:] <= high)).all()


def test_a_joint_that_does_not_turn_without_end_stops_at_its_limit() -> None:
    world = started(3)
    # No pose at the arm's own limits is free, so nearer ones.
    before, allowed = world.joints, 0.4 * LARGEST
    world._highest = np.where(world._turns, np.inf, before + allowed)
    world.move([0.6, 0.6, 0.6])
    np.testing.assert_allclose(world.joints - before, [0.6 * LARGEST, allowed, allowed], atol=1e-12)


def test_where_a_joint_would_touch_the_others_turn_all_the_same() -> None:
    world = started(4)
    for _ in range(25):
        world.move([0, 1, 0])  # down, until something is in the way
    before = world.joints
    world.move([1, 1, 0])
    assert world.joints[0] - before[0] == pytest.approx(LARGEST)
    assert world.joints[1] - before[1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_passes_the_check_of_gymnasium(mode: str) -> None:
    check_env(gymnasium.make(REACH, observation=mode, camera="moving").unwrapped)


def test_the_full_world_is_the_family_as_it_is_and_has_options() -> None:
    env = gymnasium.make(REACH, observation="pixels+joints", world="full", size=16, samples=1).unwrapped
    assert env.action_space.shape == (9,)
    seen, _ = env.reset(seed=1)
    assert seen["frame"].shape == (3, 16, 16)
    assert env.observation_space.contains(seen)
    assert env.world.family == Jaco(views=1, size=16, samples=1)


def test_arms_in_lock_step_are_as_each_is_alone() -> None:
    arms = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(REACH)] * 3)
    alone = gymnasium.make(REACH)
    seen, _ = arms.reset(seed=[4, 5, 6])
    np.testing.assert_array_equal(seen[2], alone.reset(seed=6)[0])
    for _ in range(EPISODE):
        moves = arms.action_space.sample()
        (seen, rewards, _, over, _), one = arms.step(moves), alone.step(moves[2])
        np.testing.assert_array_equal(seen[2], one[0])
        assert rewards[2] == one[1]
    assert over.all()


def test_the_same_action_turns_the_same_world_in_all_modes() -> None:
    told = []
    for mode in MODES:
        env = gymnasium.make(REACH, observation=mode)
        env.reset(seed=3)
        told.append(env.step(np.ones(3, np.float32)))
    state, joints, pixels, both = (seen for seen, *_ in told)
    assert len({reward for _, reward, *_ in told}) == 1
    np.testing.assert_array_equal(state[: len(joints)], joints)
    np.testing.assert_array_equal(both["joints"], joints)
    np.testing.assert_array_equal(both["frame"], pixels["frame"])


def test_the_state_says_where_the_joints_the_hand_and_the_target_are() -> None:
    env = gymnasium.make(REACH).unwrapped
    seen, info = env.reset(seed=3)
    world = env.world
    np.testing.assert_allclose(np.arctan2(seen[:3], seen[3:6]), (world.joints + np.pi) % (2 * np.pi) - np.pi, atol=1e-6)
    np.testing.assert_allclose(seen[6:9], world.arm.hand, atol=1e-6)
    np.testing.assert_allclose(seen[6:9] + seen[9:12] / 10, world.target, atol=1e-6)
    assert info == {"distance": pytest.approx(np.linalg.norm(seen[9:12]) / 10, abs=1e-6), "is_success": False}


def test_the_expert_takes_the_nearest_of_the_poses_that_reach_the_target() -> None:
    several = 0
    for seed in range(6):
        world = started(seed)
        before, expected = world.joints, world.expert()
        np.testing.assert_array_equal(world.joints, before)  # to ask moves nothing
        ways = []
        for pose in world._poses:
            ways.append(np.where(world._turns, np.angle(np.exp(1j * (pose - before))), pose - before))
            joints = world.arm.data.qpos[:9].copy()
            joints[world._moving] = pose
            world.arm.pose(joints)
            assert world.distance < 2e-3
            assert not world.arm.touches(but=[world._ball])
        several += len(ways) > 1
        nearest = min(ways, key=lambda way: np.abs(way).max())
        np.testing.assert_allclose(expected, nearest / max(LARGEST, np.abs(nearest).max()), atol=1e-9)
    assert several > 2


def test_rewards_are_progress_and_an_episode_is_cut_at_its_length() -> None:
    env = gymnasium.make(REACH)
    _, info = env.reset(seed=5)
    for number in range(EPISODE):
        before = info["distance"]
        seen, reward, terminated, truncated, info = env.step(env.action_space.sample())
        world = env.unwrapped.world
        hand = world.arm.data.site("hand_gripsite").xpos
        assert info["distance"] == pytest.approx(np.linalg.norm(hand - world.target))
        assert reward == pytest.approx(np.log((0.05 + before) / (0.05 + info["distance"])))
        assert not terminated
        assert truncated == (number == EPISODE - 1)
        assert env.observation_space.contains(seen)


def test_the_expert_arrives_and_chance_does_not() -> None:
    env = gymnasium.make(REACH)
    random = np.random.default_rng(0)
    expert = evaluate(env, lambda _: env.unwrapped.expert(), 60)
    chance = evaluate(env, lambda _: random.uniform(-1, 1, 3), 60)
    assert expert["success_5_cm"] > 0.8
    assert chance["success_10_cm"] < 0.1
    assert expert["distance_cm"] < 10 < 40 < chance["distance_cm"]


def test_the_camera_is_fixed_or_moves() -> None:
    for camera in ("fixed", "moving"):
        env = gymnasium.make(REACH, observation="pixels", camera=camera)
        seen = [env.reset(seed=seed)[0]["camera"] for seed in range(3)]
        assert all(env.observation_space["camera"].contains(vector) for vector in seen)
        assert np.ptp(seen, axis=0).max() > 0.1 if camera == "moving" else not np.ptp(seen, axis=0).any()


def test_a_held_out_episode_is_the_same_each_time_and_no_other() -> None:
    env = gymnasium.make(REACH)
    first, again, other = (env.reset(seed=seed, options={"held_out": n})[0] for seed, n in ((0, 1), (5, 1), (0, 2)))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(first, env.reset(seed=1)[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"observation": "touch"}, "Reach: observation is 'touch'"),
        ({"world": "round"}, "Reach: world is 'round'"),
        ({"colour": "red"}, "Reach has no option colour"),
        ({"target": False}, "needs a target and joints that move"),
        ({"moving": ()}, "needs a target and joints that move"),
    ],
)
def test_refuses_an_environment_that_cannot_be(options: dict[str, object], told: str) -> None:
    with pytest.raises(Error, match=told):
        gymnasium.make(REACH, **options)


@pytest.mark.parametrize("options", [{"held_out": -1}, {"held_out": "a"}, {"heldout": 1}])
def test_refuses_an_episode_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(Error, match="options of reset"):
        gymnasium.make(REACH).reset(options=options)


def test_frozen_features_are_what_the_graph_makes_of_a_frame_of_a_dataset(tmp_path: Path) -> None:
    options = {key: value for key, value in vars(FAMILY).items() if key != "senses"}
    folder = generate("jaco", tmp_path, 1, seed=0, test_scenes=1, workers=1, progress=False, **options)
    convert(folder, 1, workers=1, progress=False)
    frames, cameras = SceneDataset(folder, "train").scene(0)
    torch.manual_seed(4)
    graph, env = untrained(TINY), gymnasium.make(REACH, observation="pixels+joints").unwrapped
    observed = Features(env, graph, "vision", looks=2)
    labels = scene_labels(folder, "train")[0]
    world = env.world
    world.arm.data.mocap_pos[0] = labels["objects"][0]["position"]
    world.arm.pose(np.array(labels["joints"]))
    world.world.colours[world.arm.model.geom("target").id] = labels["objects"][0]["colour"]
    env.camera = cameras[0].double().numpy()
    seen = observed.encode(env.observe())
    expected = graph.encode({"vision": Views(frames[None].float() / 255, camera_vector(cameras)[None])}, "vision")
    np.testing.assert_allclose(seen, expected.flatten().numpy(), atol=2e-3, rtol=1e-3)
    world.move([1, 0, 0])
    assert (observed.encode(env.observe()) - seen).abs().max() > 0.01


def test_features_are_standardised_by_other_episodes_and_cut() -> None:
    torch.manual_seed(0)
    env = Features(gymnasium.make(REACH, observation="pixels+joints"), untrained(TINY), "vision")
    seen = [env.reset(seed=seed)[0] for seed in range(40)]
    assert all(env.observation_space.contains(each) for each in seen)
    features = np.stack([each["features"] for each in seen]).astype(np.float64)
    assert np.abs(features.mean(axis=0)).mean() < 0.3
    assert 0.5 < np.median(features.std(axis=0)) < 1.5
    raw = env.encode(env.unwrapped.observe()).numpy()
    expected = ((raw - env.mean.numpy()) / env.deviation.numpy()).clip(-CLIP, CLIP)
    np.testing.assert_allclose(features[-1], expected, atol=1e-2)
    assert env.deviation.min() > 0.09 * env.deviation.median()


def test_what_is_frozen_stays_as_it_was_and_what_sees_pixels_learns(
    few_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(observers, "untrained", lambda sense: made.append(untrained(TINY)) or made[-1])
    for observation, learns in (("random", False), ("pixels", True)):
        made.clear()
        curve = train_agent(observation, learning=BRIEF)
        assert [row["steps"] for row in curve] == [0, 10, 20]
        assert all(np.isfinite(list(row.values())).all() for row in curve)
        # The networks of the actor and of the critics, or the one that is frozen, begin as the seed says.
        state = made[1].state_dict()
        torch.manual_seed(0)
        start = untrained(TINY).state_dict()
        assert learns != all(torch.equal(state[key], start[key]) for key in start)


def test_a_layer_of_a_run_is_observed(few_looks: None) -> None:
    graph = untrained(TINY)
    graph.add_representation("arm", ["vision"], "mlp", channels=6, hidden=8)
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observers, "load_layer_1", lambda run: graph)
        first = train_agent("layer-1", learning=BRIEF, layer="run")
        second = train_agent("layer-2", learning=BRIEF, layer="run", node="arm")
    assert len(first) == len(second) == 3
    assert first != second
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())
    env = gymnasium.make(REACH, observation="pixels+joints")
    assert Features(env, graph, "arm", looks=2).observation_space["features"].shape == (6,)


def test_an_agent_that_is_told_the_state_learns() -> None:
    learning = Learning(
        steps=1200, eval_every=1200, episodes=10, warm_up=200, updates=1, batch=128, hidden=64, learning_rate=3e-3
    )
    first, last = train_agent("state", learning=learning)
    assert last["distance_cm"] < first["distance_cm"] - 20


def test_the_same_seed_gives_the_same_curve() -> None:
    assert train_agent("state", seed=1, learning=BRIEF) == train_agent("state", seed=1, learning=BRIEF)
    assert train_agent("state", seed=1, learning=BRIEF) != train_agent("state", seed=2, learning=BRIEF)


def test_a_clone_of_the_expert_learns_from_the_state_and_not_from_the_joints_alone() -> None:
    brief = Cloning(episodes=(15, 60), held_out=15, updates=400, batch=128, hidden=64)
    last = {name: clone_agent(name, cloning=brief)[-1]["median_distance_cm"] for name in ("state", "joints")}
    assert last["state"] < 20 < 30 < last["joints"]


def test_the_expert_answers_to_what_the_clone_does(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def unlearned(clone: Clone, seen: list[np.ndarray], answers: list[np.ndarray], _: Cloning) -> Clone:
        given.append((clone, list(seen), list(answers)))
        return clone

    monkeypatch.setattr(cloning, "learned", unlearned)
    clone_agent("state", cloning=BRIEF_CLONING)
    (clone, first, _), (_, seen, answers) = given
    assert (len(first), len(seen)) == (EPISODE, 2 * EPISODE)

    def angles(number: int) -> np.ndarray:
        return np.arctan2(seen[number][:3], seen[number][3:6])

    for episode, act in ((0, lambda number: answers[number]), (1, lambda number: clone.act(seen[number]))):
        moves = range(EPISODE * episode, EPISODE * (episode + 1) - 1)
        turned = [np.angle(np.exp(1j * (angles(number + 1) - angles(number)))) for number in moves]
        wanted = [LARGEST * act(number) for number in moves]
        assert np.isclose(turned, wanted, atol=1e-4).mean() > 0.6  # but where something is in the way
        assert episode == 0 or not np.isclose(wanted, LARGEST * np.array(answers)[moves], atol=1e-4).all(axis=1).any()


def test_ratios_are_of_medians_over_the_seeds_of_both(tmp_path: Path) -> None:
    def curve(*distances: float) -> dict[str, list[dict[str, float]]]:
        rates = {"distance_cm": 0.0, "success_10_cm": 0.5, "success_5_cm": 0.25}
        rows = zip((10, 100, 1000), distances, strict=True)
        return {"curve": [{"episodes": count, "median_distance_cm": distance, **rates} for count, distance in rows]}

    found = {
        ("layer-1", 0): curve(30, 4, 4),
        ("layer-1", 1): curve(20, 10, 4),
        ("layer-1", 2): curve(4, 4, 4),  # which pixels lack
        ("pixels", 0): curve(30, 30, 10),
        ("pixels", 1): curve(30, 20, 20),
    }
    study = Clones(tmp_path / "runs.jsonl", ("layer-1", "pixels"), layer_1="run")
    known = {Cell(name, "fixed", seed, "run", "vision"): line for (name, seed), line in found.items()}
    row = next(line for line in study.table(known).splitlines() if "layer-1 / pixels" in line)
    seeds, *ratios = row.strip("| ").split(" | ")[2:]
    assert seeds == "2"
    ratio = dict(zip(protocol.CLONED, ratios, strict=True))
    # Between evaluations by the logarithm of episodes.
    assert float(ratio[20].split()[0]) == pytest.approx((10 ** (1 + 10 / 26) + 10) / (10**2.5 + 100), abs=0.005)
    assert "≤" in ratio[10]
    assert "2/2, 1/2" in ratio[10]
    assert "2/2, 0/2" in ratio[5]


def test_the_same_seed_gives_the_same_clone() -> None:
    first, again, other = (clone_agent("state", seed=seed, cloning=BRIEF_CLONING) for seed in (1, 1, 2))
    assert first == again != other
    assert [row["episodes"] for row in first] == [1, 2]


def test_what_is_learned_is_filmed_and_stays_the_same(tmp_path: Path) -> None:
    plain = clone_agent("state", cloning=BRIEF_CLONING)
    assert clone_agent("state", cloning=BRIEF_CLONING, filmed=tmp_path / "films/clone.gif") == plain
    train_agent("state", learning=BRIEF, filmed=tmp_path / "films/agent.gif")
    for name in ("clone", "agent"):
        with Image.open(tmp_path / f"films/{name}.gif") as film:
            assert film.size == (4 * FILMED * 32, 4 * 32)
            assert film.n_frames >= EPISODE / 2  # frames that are alike are one in a GIF
            film.seek(0)
            first = np.asarray(film.convert("RGB"), float)
            film.seek(film.n_frames - 1)
            assert np.abs(np.asarray(film.convert("RGB"), float) - first).max() > 50  # something has moved


def test_a_clone_learns_from_frames_and_leaves_what_is_frozen_as_it_was(
    few_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, changed = cloning.learned, []

    def spy(clone: Clone, *given: object) -> Clone:
        before = {name: value.clone() for name, value in clone.state_dict().items()}
        after = learn(clone, *given).state_dict()
        changed.append({name.split(".")[1] for name, value in before.items() if not torch.equal(value, after[name])})
        return clone

    graph = untrained(TINY)
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    monkeypatch.setattr(cloning, "learned", spy)
    monkeypatch.setattr(observers, "load_layer_1", lambda run: graph)
    for observation in ("pixels", "layer-1"):
        curve = clone_agent(observation, cloning=BRIEF_CLONING, layer="run")
        assert all(np.isfinite(list(row.values())).all() for row in curve)
    assert all({"graph", "layers"} <= parts for parts in changed[:2])
    assert all("graph" not in parts and "layers" in parts for parts in changed[2:])
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def test_no_observation_is_short_of_a_seed_where_runs_are_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def curve(observation: str, camera: str, seed: int, *_: object) -> list[dict[str, float]]:
        trained.append((observation, seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return [{"steps": 0, "distance_cm": 50.0}]

    monkeypatch.setattr(protocol, "train_agent", curve)
    study = Agents(tmp_path / "runs.jsonl", ("state", "pixels"), seeds=(0, 1, 1))
    with pytest.raises(KeyboardInterrupt):
        list(make(study, study.cells()))
    assert len(read_results(study)) == 2
    list(make(study, study.cells()))
    assert trained == [("state", 0), ("pixels", 0), ("state", 1), ("state", 1), ("pixels", 1)]


def test_only_the_asked_runs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "train_agent", lambda *_: [{"steps": 0, "distance_cm": 50.0}])

    def asked(layer: str, node: str, seeds: tuple[int, ...]) -> list[Cell]:
        study = Agents(tmp_path / "runs.jsonl", ("layer-2",), seeds=seeds, layer_2=layer, node=node)
        list(make(study, study.cells()))
        return list(read_results(study))

    assert asked("one", "arm", (0, 1)) == [Cell("layer-2", "fixed", seed, "one", "arm") for seed in (0, 1)]
    assert asked("another", "arm", (0,)) == [Cell("layer-2", "fixed", 0, "another", "arm")]
    assert asked("one", "hand", (0,)) == [Cell("layer-2", "fixed", 0, "one", "hand")]
    assert len(read_json_lines(tmp_path / "runs.jsonl")) == 4


def test_moves_to_a_threshold_and_what_is_told_of_runs(tmp_path: Path) -> None:
    def row(steps: int, distance: float) -> dict[str, float]:
        rates = {"success_10_cm": 0.5, "success_5_cm": 0.25}
        return {"steps": steps, "distance_cm": distance, "median_distance_cm": distance / 2, **rates}

    curves = {
        ("state", 0): [row(0, 50), row(100, 40), row(200, 20), row(300, 30)],
        ("state", 1): [row(0, 50), row(100, 20), row(200, 10), row(300, 15)],
        ("expert", 0): [row(0, 5)],
    }
    known = {Cell(name, "fixed", seed, None, "vision"): {"curve": curve} for (name, seed), curve in curves.items()}
    study = Agents(tmp_path / "runs.jsonl", ("state", "expert"))
    told = study.table(known)
    assert "| fixed | state | 2 | 108 (67 to 150) |" in told
    assert "never" in told
    study.figure(known).savefig(tmp_path / "curves.png")
    assert image.imread(tmp_path / "curves.png").std() > 0


@pytest.mark.parametrize("option", ["steps", "batch", "discount"])
def test_refuses_an_option_out_of_range(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        Learning(**{option: 0 if option != "discount" else 1.0})


def test_refuses_a_layer_that_is_not_named() -> None:
    with pytest.raises(ValueError, match="layer-1 needs the run of a graph: name it by --layer-1"):
        train_agent("layer-1")


@pytest.mark.parametrize("options", [{"episodes": ()}, {"episodes": (3, 3)}, {"updates": 0}])
def test_refuses_an_option_of_cloning_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Cloning(**options)


@pytest.mark.parametrize("name", ["agent", "clone"])
@pytest.mark.parametrize("layer", ["layer-1", "layer-2"])
def test_the_script_names_the_option_of_a_layer_before_anything_runs(name: str, layer: str, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / f"scripts/{name}.py"
    done = run_script(script, tmp_path / "new/runs.jsonl", "--observations", "expert", layer)
    assert (done.returncode, done.stderr) == (1, f"{name}: --observations {layer} needs --{layer} RUN\n")
    assert not (tmp_path / "new").exists()
