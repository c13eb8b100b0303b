"""The engine: how a run goes on. Planner, dispatcher, workers and the lease holder's life cycle."""
