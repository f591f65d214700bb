"""What a graph knows of held-out scenes, task by task."""

from collections.abc import Iterable
from typing import Any, cast

import torch

from gqn.core.distributed import Processes
from gqn.core.modes import evaluating
from gqn.core.views import GraphBatch
from gqn.data.graph_batches import GraphEvaluationBatch
from gqn.models.graph import RecursiveGQN
from gqn.models.heads import Head, negative_elbo


@torch.no_grad()
def evaluate_graph(
    graph: RecursiveGQN,
    batches: Iterable[GraphEvaluationBatch],
    *,
    tasks: Iterable[str],
    seed: int,
    processes: Processes,
) -> dict[str, Any]:
    """For each task, means over its known answers, in the batches of this process and of the others.

    negative_elbo in nats, also above its floor, and its KL; shuffled_negative_elbo when every scene is shown what
    another scene shows, and gain_nats, how much worse that is: near zero, the task is answered without a look at the
    scene. Last, what the task's head calls its error. None for a task of which no answer is known.
    """
    names = list(tasks)
    # One row of sums a task, on every process, also one that gets no batch.
    sums = torch.zeros(len(names), 5, dtype=torch.float64, device=processes.device)
    with evaluating(graph):
        for item in batches:
            torch.manual_seed(seed * 1_000_003 + item.first)
            batch = item.batch.to(processes.device)
            foreign = {name: views.to(processes.device) for name, views in item.foreign.items()}
            shuffled = graph(GraphBatch(foreign, batch.tasks))
            for name, answer in graph(batch).items():
                asked = batch.tasks[name]
                target = asked.known()
                loss, other = negative_elbo(answer, target), negative_elbo(shuffled[name], target)
                known = torch.ones_like(loss) if asked.present is None else asked.present.to(loss)
                columns = [known, loss, answer.kl.sum(dim=-1), other, head_of(graph, name).error(answer, target)]
                sums[names.index(name)] += torch.stack([(c * known).sum() for c in columns]).double()
    report: dict[str, Any] = {}
    for name, row in zip(names, processes.total(sums).tolist(), strict=True):
        head, (known, loss, kl, other, error) = head_of(graph, name), row
        report[name] = None
        if known:
            report[name] = {
                "answers": int(known),
                "negative_elbo": loss / known,
                "negative_elbo_above_floor": loss / known - head.floor(),
                "kl": kl / known,
                "shuffled_negative_elbo": other / known,
                "gain_nats": (other - loss) / known,
                head.measure: error / known,
            }
    return report


def head_of(graph: RecursiveGQN, task: str) -> Head:
    return cast(Head, graph.nodes[task])
