"""Caching: is it the same work? Identities, fingerprints of code and files, reuse of results."""
