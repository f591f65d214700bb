#!/usr/bin/env python3
"""Measure whether what one task taught makes another cheaper: run an experiment of gqn.studies.transfer.

python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced     make the runs that are missing
python scripts/transfer.py results/transfer/layer-1.yaml --report       tables and figures from the results alone
python scripts/transfer.py results/transfer/layer-1.yaml --data data/jaco_reduced \\
    --conditions pixels --tasks locate --seeds 3 --again                 one cell anew, compared with the results
python scripts/transfer.py --smoke                                          everything at toy size

The results, tables and figures lie beside the experiment's file: NAME.jsonl, NAME.md, NAME.png.
"""

from gqn.core.command import command, quiet_imports

quiet_imports(__name__)

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gqn.studies.runner import Options, main
from gqn.studies.transfer.probes import probe
from gqn.studies.transfer.protocol import Transfer, keep_layer_2
from gqn.studies.transfer.smoke import smoke


@dataclass(frozen=True)
class Layers(Options[Transfer]):
    probe: bool = False
    """Only ask what layer 1 holds, into layer-1-probes.json."""
    keep_layer_2: tuple[str, Path] | None = None
    """Only train a second layer for the other tasks than TASK, into FOLDER."""

    def carry_out(self) -> None:
        if self.probe:
            print(json.dumps(probe(self.study), indent=2))
        elif self.keep_layer_2:
            print(keep_layer_2(self.study, *self.keep_layer_2))
        else:
            super().carry_out()


if __name__ == "__main__":
    if sys.argv[1:] == ["--smoke"]:
        with command("the same command goes on"), tempfile.TemporaryDirectory() as folder:
            print(smoke(Path(folder)))
    else:
        main(Layers, __doc__)
