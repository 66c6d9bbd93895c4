"""Hyperparameter search: many short runs on the validation split, drawn and pruned by Optuna."""
