"""What a handful of labelled anomalies can decide, computed from stored scores alone."""
