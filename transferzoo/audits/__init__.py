"""Audits: may images made on models that others can have fool a given model? A verdict, and files of it."""
