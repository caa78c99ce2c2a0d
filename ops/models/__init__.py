"""The models' weights: what a profile needs, what of it is here, and how it gets here."""
