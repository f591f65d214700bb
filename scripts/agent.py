#!/usr/bin/env python3
"""Train agents that reach, by what they observe, and compare how many moves each takes to learn it.

python scripts/agent.py results/transfer/reach-gate.jsonl --observations state
python scripts/agent.py FILE.jsonl --layer-1 runs/layer-1 --layer-2 runs/layer-2

NAME.jsonl gets a line when a run ends, and runs that it holds are not made again; beside it lie NAME.md and NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from gqn.studies.runner import Options, main

with command():
    from gqn.studies.agent.protocol import Agents

if __name__ == "__main__":
    main(Options[Agents], __doc__)
