"""What finished runs say: methods, ablations, relations of drift and alignment with distance and transfer. Needs no torch."""
