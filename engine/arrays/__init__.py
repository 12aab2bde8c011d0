"""Training arrays: stamps, features and redshifts of the sources that have one, kept on disk."""
