"""Results: records, statistics, comparisons, tables and what writes them; nothing here imports torch."""
