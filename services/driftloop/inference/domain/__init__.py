"""Which versions answer, whether they fit the spec, and how answers become batches."""
