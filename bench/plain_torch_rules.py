"""LARS and LAMB as plain PyTorch loops over tensors: transcriptions of timm.optim.Lars and timm.optim.Lamb."""

from __future__ import annotations

from typing import Any


class PlainLars:
    """timm.optim.Lars with momentum, its trust ratio computed in tensors."""

    def __init__(self, parameters: list[Any], lr: float, momentum: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.momentum, self.decay = parameters, lr, momentum, weight_decay
        self.buffers: list[Any] = [None] * len(parameters)

    def step(self) -> None:
        import torch

        one = torch.tensor(1.0)
        with torch.no_grad():
            for k, p in enumerate(self.parameters):
                g = p.grad
                w_norm, g_norm = p.norm(2.0), g.norm(2.0)
                trust = 0.001 * w_norm / (g_norm + w_norm * self.decay + 1e-8)
                trust = torch.where(w_norm > 0, torch.where(g_norm > 0, trust, one), one)
                g = g.add(p, alpha=self.decay).mul_(trust)
                if self.buffers[k] is None:
                    self.buffers[k] = torch.clone(g).detach()
                else:
                    self.buffers[k].mul_(self.momentum).add_(g)
                p.add_(self.buffers[k], alpha=-self.lr)


class PlainLamb:
    """timm.optim.Lamb, its global clipping of the gradient included."""

    def __init__(self, parameters: list[Any], lr: float, weight_decay: float) -> None:
        import torch

        self.parameters, self.lr, self.decay, self.t = parameters, lr, weight_decay, 0
        self.m = [torch.zeros_like(p) for p in parameters]
        self.v = [torch.zeros_like(p) for p in parameters]

    def step(self) -> None:
        import torch

        one = torch.tensor(1.0)
        self.t += 1
        correction1, correction2 = 1 - 0.9**self.t, 1 - 0.999**self.t
        with torch.no_grad():
            squares = torch.zeros(1)
            for p in self.parameters:
                squares.add_(p.grad.pow(2).sum())
            clip = torch.where(squares.sqrt() > 1.0, squares.sqrt(), one)
            for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
                g = p.grad.div(clip)
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                denominator = (v.sqrt() / correction2**0.5).add_(1e-6)
                update = (m / correction1).div_(denominator)
                update.add_(p, alpha=self.decay)
                w_norm, u_norm = p.norm(2.0), update.norm(2.0)
                trust = torch.where(w_norm > 0, torch.where(u_norm > 0, w_norm / u_norm, one), one)
                p.add_(update.mul_(trust), alpha=-self.lr)
