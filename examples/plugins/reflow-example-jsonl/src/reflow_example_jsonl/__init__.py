"""An index over reflow's runs that you can read."""
