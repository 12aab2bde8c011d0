"""The HATS catalogue: schema, fragments, finishing, reading and verifying. Owns pyarrow."""
