"""Samplers of negatives, drawn on the device inside the compiled epoch; each has its file, named as in conf/negatives.

A sampler is called with the stream of an epoch, the positions of a batch's examples, the size of the catalog, how
many negatives count, and what is `Given` of the batch. What it needs of the data it makes once, on the host, in
`prepare`. What an example draws depends on its position alone (see `jaxrec.random`); with `InBatch` and
`BatchShared` on its batch, with `Dynamic` on the model too: all are the same for a member of a population as alone.
"""
