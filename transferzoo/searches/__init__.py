"""The strongest attack at a given cost: a search over compositions of techniques, their options and steps."""
