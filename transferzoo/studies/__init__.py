"""Studies: grids of trainings, attacks and measurements, and the claims that their records decide."""
