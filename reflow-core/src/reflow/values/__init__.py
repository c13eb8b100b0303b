"""Values: types to JSON and back, canonical texts, hashes, and files for what JSON cannot hold."""
