"""Evaluation: choose images, craft on surrogates, measure on targets."""
