#!/usr/bin/env python3
"""Clone an expert that reaches, by what the clone observes, and compare how many episodes each needs.

python scripts/clone.py results/transfer/reach-clones.jsonl --observations expert chance state joints
python scripts/clone.py results/transfer/reach-clones.jsonl --layer-1 runs/layer-1 --observations pixels layer-1

NAME.jsonl gets a line when a run ends, and runs that it holds are not made again; beside it lie NAME.md and NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

from gqn.studies.runner import Options, main

with command():
    from gqn.studies.agent.protocol import Clones

if __name__ == "__main__":
    main(Options[Clones], __doc__)
