"""The run of `torch.optim.Adamax`."""

import numpy as np
import torch
from exact import Run
from problems import CHECKS, LEARNING_RATE, Problem, rounded, started

__all__ = ["torch_run"]


def torch_run(problem: Problem, dtype: str) -> Run:
    """Return the run of `torch.optim.Adamax`, which takes dense gradients alone."""
    # NumPy's bfloat16 is none of torch's, but float64 holds both.
    stream = torch.tensor(rounded(problem.stream, dtype).astype(float)).to(getattr(torch, dtype))
    start = torch.tensor(started(problem, dtype).astype(float))
    p = start.to(getattr(torch, problem.dtype(dtype)), copy=True)
    optimizer = torch.optim.Adamax([p], lr=LEARNING_RATE, betas=(problem.beta_1, 0.999))
    wide = torch.promote_types(stream.dtype, torch.float32)
    moved, seen = torch.zeros_like(start), []
    for t, part in enumerate(stream, start=1):
        slope = problem.curvature * (p.to(part.dtype).to(wide) - problem.target)
        p.grad = (part.to(wide) + slope).to(part.dtype).to(p.dtype)
        optimizer.step()
        if problem.set_back:
            moved += p
            p.zero_()
        else:
            moved = p.double() - start
        if t % (problem.steps // CHECKS) == 0:
            u = optimizer.state[p]["exp_inf"]
            seen.append((moved.ravel().numpy().copy(), u.ravel().double().numpy().copy()))
    return Run(*map(np.array, zip(*seen, strict=True)))
