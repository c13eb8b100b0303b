"""Grid Engine as a face of the engine: what its commands take, and what they print."""
