"""Arrays to redshift posteriors."""
