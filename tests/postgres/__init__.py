"""The tests of reflow-postgres, on a real server."""
