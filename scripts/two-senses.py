#!/usr/bin/env python3
"""Measure how much vision, touch and both tell of held-out views: train one graph on both, give it either or both.

python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl             make the runs that are missing
python scripts/two-senses.py WORK_DIR results/two-senses/two-senses.jsonl --report    the table alone

WORK_DIR takes the scenes and the two runs of each seed; the table lies beside the results.
"""

from gqn.core.command import quiet_imports

quiet_imports(__name__)

from gqn.studies.runner import Options, main
from gqn.studies.two_senses import TwoSenses

if __name__ == "__main__":
    main(Options[TwoSenses], __doc__)
