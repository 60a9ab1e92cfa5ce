"""Prefect flows over the stages of `pipeline`, and the command line."""
