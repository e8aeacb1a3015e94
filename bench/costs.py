"""What training with Clover's objectives costs on one backbone, beside the native objectives.

    python bench/costs.py

Multiply-adds of the forward step, in thousand millions a pair, counted by torch on shapes without
numbers; backward costs about twice as much again. `whole` computes every token in the last block of
the unimodal passes, as the published code does; `here` is what our passes compute.
"""

import torch
from _passes import SIZES, count_gmac
from _plans import PLANS, pass_costs

from model.all_in_one.network import assemble
from model.world.checkpoint import DIMS


def main() -> None:
    """Print the passes and the plans of every size."""
    for size, dims in {**SIZES, "bundled": DIMS}.items():
        with torch.device("meta"):
            network = assemble(dims)
            whole, here = (
                pass_costs(network, count_gmac, is_whole=is_whole) for is_whole in (True, False)
            )
        print(f"\n{size}: {dims.frames} frames of {dims.frame_size} px, GMAC a pair")
        print(f"{'':32}{'whole':>10}{'here':>10}{'to native':>11}")
        for name in whole:
            print(f"{'one pass: ' + name:32}{whole[name]:10.4g}{here[name]:10.4g}")
        native = next(iter(PLANS.values())).cost(here)
        for name, plan in PLANS.items():
            ours = plan.cost(here)
            print(f"{name:32}{plan.cost(whole):10.4g}{ours:10.4g}{ours / native:11.2f}")


if __name__ == "__main__":
    main()
