"""`synthetic-histology`: tiles of H&E-like tissue, rendered from a seed, grouped by slide."""
