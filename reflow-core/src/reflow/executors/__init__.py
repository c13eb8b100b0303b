"""Executors: what turns a job request into a running job, and what backends build on."""
