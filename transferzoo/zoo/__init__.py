"""The zoo file: its schema, its reader, and what names in it stand for."""
