"""What a study tells TensorBoard or MLflow, for those who keep all their experiments there."""
