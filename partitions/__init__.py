"""The sky as arrays: survey files in, Zarr arrays of stamps and photometry out."""
