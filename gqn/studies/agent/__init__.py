"""Agents that reach in closed loop, and their environment `gqn/Reach-v0`, which this package registers with gymnasium.

`gymnasium.make("gqn.studies.agent:gqn/Reach-v0")` imports it. It is no plugin of gymnasium's, since those are imported
wherever gymnasium is.
"""

from gqn.core.extras import extra

REACH = "gqn/Reach-v0"
EPISODE = 20  # moves, within which the expert arrives in nine of ten episodes

extra("gymnasium", "agent").register(
    REACH, entry_point="gqn.studies.agent.environment:Reach", max_episode_steps=EPISODE
)
