# SPDX-License-Identifier: Apache-2.0
"""Networks of spiking neurons that live over many time steps: trained elsewhere, run in C spike for spike.

    model = bnn.snn.load("net.snn")
    run = model.run(x)        # x: spikes (T, *shape)
    run.output                # spikes of the output, (T, n)
    print(run)                # spikes and SynOps per population

Running needs only NumPy and cffi; see docs/snn.md.
"""

from .model import Layer, Run, SpikingModel, build, load

__all__ = ["Layer", "Run", "SpikingModel", "build", "load"]
