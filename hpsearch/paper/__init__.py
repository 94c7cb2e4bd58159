"""The paper's tables: which studies answer them, their figures beside the paper's, and a plan."""
