"""Gradients and an evaluation, by one process or each that torchrun starts: python THIS DATASET OUT DEVICE."""

import json
import sys
from pathlib import Path

import torch

from gqn.core.distributed import processes
from gqn.data.batches import FLAT, TrainingBatches
from gqn.data.dataset import SceneDataset
from gqn.data.labelled_scenes import LabelledScenes
from gqn.models.gqn import GenerativeQueryNetwork
from gqn.models.losses import log_likelihood
from gqn.training.validation import evaluate, mean_image


def main(dataset: str, out: str, device: str) -> None:
    torch.backends.cudnn.allow_tf32 = False
    with processes(device) as group:
        torch.manual_seed(0)
        network = GenerativeQueryNetwork(
            pixels=16, representation_channels=8, hidden=8, canvas=8, latent=2, generation_steps=2, shared_cores=True
        )
        with torch.no_grad():
            # A posterior of no width: the noise, which each process draws for itself, plays no part.
            network.generator.posterior.weight[2:] = 0
            network.generator.posterior.bias[2:] = -60
        parallel = group.parallel(network.to(group.device))
        batches = TrainingBatches(
            LabelledScenes(SceneDataset(dataset, "train")),
            batch=4,
            context_views=(1, 3),
            queries=2,
            seed=0,
            rank=group.rank,
            processes=group.count,
        )
        batch = batches[0].to(group.device)
        prediction = parallel(batch)["render"]
        # The KL of so narrow a posterior would drown the rest in rounding.
        loss = 1e-3 * prediction.kl.sum(dim=-1).mean() - log_likelihood(batch.query.frames, prediction.mean, 0.7).mean()
        loss.backward()
        held_out = LabelledScenes(SceneDataset(dataset, "test"))
        report = evaluate(
            network,
            held_out,
            FLAT,
            mean_image(held_out),
            context=2,
            samples=2,
            seed=0,
            processes=group,
            batch=2,
        )
        if group.leads:
            gradients = {n: p.grad.flatten().tolist() for n, p in network.named_parameters() if p.grad is not None}
            Path(out).write_text(json.dumps({"gradients": gradients, "report": report}))
    del parallel
    left = [name for task in Path("/proc/self/task").glob("*") if "gloo" in (name := (task / "comm").read_text())]
    assert not left, left  # threads that run on into Python's end may abort the process there


if __name__ == "__main__":
    main(*sys.argv[1:])
