"""Redshifts of any table: a TOML file that says how to read it, training, prediction."""
