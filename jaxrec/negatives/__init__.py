"""Negative samplers, run on the device inside the compiled epoch; one file each, named as in conf/negatives.

A sampler is called with the random stream of an epoch, the indices of a batch's examples, the size of the catalog, the
number of negatives in use, and a `SamplerContext`. `prepare` computes its tables from the data once, on the host. The
draws of an example depend only on its index (see `jaxrec.random`), for `InBatch` and `BatchShared` also on its batch,
and for `Dynamic` also on the model: a member of a population gets the same negatives as if it were trained alone.
"""
