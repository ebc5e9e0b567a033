"""Layers for training on a CPU that keep little for the gradient and compute the rest again.

Layer by layer, autograd keeps every output of a convolution, a batch norm and a ReLU. Here a block
keeps its input, what lies in its middle, and its output, which is the next one's input. A few clips
are computed at a time, so that what lies between one convolution and the next is small and stays in
the processor's cache. Training on clips of 10 s in batches of 64 peaks at 1.2 GB.

The statistics are added up in double precision: PyTorch 2.13's batch norm is off by 1e-4 to 1e-3 of
a deviation on channels-last arrays, in which convolutions run fastest.
"""
