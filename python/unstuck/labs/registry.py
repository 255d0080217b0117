"""The registry of labs: the one list of their names; each name belongs to a module of this folder."""

from __future__ import annotations

# name on the command line -> module
MODULES: dict[str, str] = {
    "saddle": "saddle",
    "taylor": "taylor",
    "momentum": "momentum",
    "convex": "convex",
    "stuck-not-critical": "stuck_not_critical",
    "braking": "braking",
    "adagrad-burst": "adagrad_burst",
    "warm-up": "warm_up",
    "summary": "summary",
    "feature-scale": "feature_scale",
    "norm-placement": "norm_placement",
    "batchnorm": "batchnorm",
    "why-batchnorm": "why_batchnorm",
    "norm-family": "norm_family",
    "minimum-ratio": "minimum_ratio",
    "dimension": "dimension",
    "escape": "escape",
    "stuckbench": "stuckbench",
}
NAMES: tuple[str, ...] = tuple(MODULES)
