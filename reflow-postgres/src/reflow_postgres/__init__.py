"""The index of a team's reflow runs in PostgreSQL."""
