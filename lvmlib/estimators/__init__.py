"""Estimators of gradients of bounds, as surrogates that any training loop takes.

Each returns [B] nats whose *value* is the objective and whose *gradient* is the estimator:
``fit(model, data, lambda model, x: -vimco(model, x, k=5), ...)``. They read `Flow.trace` and nothing else.

============================ ============== ======================= =========================================
estimator                    latents        of the bound            bias
============================ ============== ======================= =========================================
`reparameterization`         continuous     ELBO                    none
`stl`                        continuous     ELBO, k draws: IWAE     none at k = 1 or where q is exact
`dreg`                       continuous     IWAE                    none
`single_backward_iwae`       continuous     IWAE                    none
`score_function`, `rloo`     any            ELBO                    none
`nvil`                       any            ELBO                    none but a positive factor
`vimco`                      any            IWAE                    none
`gumbel_softmax`             discrete       ELBO of relaxed draws   falls with the temperature
`straight_through`           discrete       ELBO                    none only where log w is linear in z
`rebar`, `relax`             discrete       ELBO                    none
============================ ============== ======================= =========================================
"""

from lvmlib.estimators.baselines import Baseline, LearnedBaseline, NVILBaseline, RunningBaseline
from lvmlib.estimators.control import ControlVariate, rebar, relax
from lvmlib.estimators.pathwise import dreg, reparameterization, single_backward_iwae, stl
from lvmlib.estimators.relaxed import gumbel_softmax, straight_through
from lvmlib.estimators.score import nvil, optimal_baseline, rloo, score_function, vimco

__all__ = [
    "Baseline",
    "ControlVariate",
    "LearnedBaseline",
    "NVILBaseline",
    "RunningBaseline",
    "dreg",
    "gumbel_softmax",
    "nvil",
    "optimal_baseline",
    "rebar",
    "relax",
    "reparameterization",
    "rloo",
    "score_function",
    "single_backward_iwae",
    "stl",
    "straight_through",
    "vimco",
]
