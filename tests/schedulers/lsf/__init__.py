"""The face of OpenLava 4.0: bsub, bjobs, bkill, bhist and bparams."""
