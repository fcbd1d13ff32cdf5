"""Attacks: one loop, norms, and the techniques it is composed of."""
