"""The catalogue in the formats of others: photo-z sweeps (FITS), qp ensembles (HDF5)."""
